"""Exactly one bridge works: the one that holds the lease. The others stand by.

The lease decides who should work, Kafka's fence who can: a bridge that was paused beyond its lease
cannot commit another message. An outage of the database ends no tenure, since nobody else can begin one.
"""

from __future__ import annotations

import threading
from concurrent import futures
from typing import TYPE_CHECKING, Protocol

import structlog

from allocation.service_layer import ports as outside
from allocation.service_layer import signals
from allocation.service_layer.bridging import perseverance, ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

log = structlog.get_logger()

LEASE_S = 6.0  # what is published on Redis while nobody works is lost: short, but longer than a usual pause
RENEW_S = LEASE_S / 3  # two renewals may fail before the lease is lost
STANDBY_S = 1.0  # a standby asks the database this often


class Job(Protocol):
    """One direction of the bridge."""

    def run(self, stopping: threading.Event) -> None:
        """Work until told to stop; raises `TakenOver` when it must not go on."""


class Bridge:
    """Runs the jobs whenever the lease is ours, each in a thread of its own."""

    def __init__(self, *, lease: ports.Lease, jobs: Sequence[Job], signals: signals.Signals = signals.SILENT) -> None:
        self._lease = lease
        self._signals = signals
        self._jobs = jobs

    def run(self, stopping: threading.Event) -> None:
        """Work or stand by until told to stop."""
        standing_by = False
        while not stopping.is_set():
            if perseverance.keep_trying(self._lease.acquire, what="lease", stopping=stopping, tell=self._tell):
                standing_by = False
                self._serve(stopping)
            elif not standing_by:
                standing_by = True
                log.info("bridge.standby")
            self._signals.says("lease", state="standby")
            stopping.wait(STANDBY_S)

    def _tell(self, problem: str) -> None:
        self._signals.says("lease", problem)

    def _serve(self, stopping: threading.Event) -> None:
        log.info("bridge.active")
        self._signals.says("lease", state="active")
        ended = threading.Event()
        with futures.ThreadPoolExecutor(len(self._jobs), thread_name_prefix="bridge") as pool:
            running = [pool.submit(job.run, ended) for job in self._jobs]
            try:
                self._hold(running, stopping)
            finally:
                ended.set()
        self._release()
        _raise_failures(running)

    def _hold(self, running: Iterable[futures.Future[None]], stopping: threading.Event) -> None:
        renewals = perseverance.Pauses("lease", tell=self._tell)
        while not stopping.wait(RENEW_S):
            if any(job.done() for job in running):
                return
            if not self._renew(renewals):
                log.warning("bridge.lease_lost")
                return

    def _renew(self, renewals: perseverance.Pauses) -> bool:
        try:
            is_ours = self._lease.renew()
        except outside.Retryable as error:
            renewals.after(error)
            return True
        renewals.reset()
        self._signals.says("lease", state="active")
        return is_ours

    def _release(self) -> None:
        try:
            self._lease.release()
        except outside.Retryable as error:
            log.warning("bridge.lease_not_released", error=str(error), expires_in_s=LEASE_S)


def _raise_failures(running: Iterable[futures.Future[None]]) -> None:
    for job in running:
        match job.exception():
            case None:
                pass
            case ports.TakenOver() as error:
                log.warning("bridge.taken_over", error=str(error))
            case error:
                raise error
