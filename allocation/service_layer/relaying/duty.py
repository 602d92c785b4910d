"""Be the relay of one shard, or stand by for it, through outages of everything.

The lease decides who should relay, Kafka's fence who can (without transactions there is none: two relays may
send the same row, and each deletes only what it has sent). After any error past the beginning of a pass its
outcome is unknown: everything is opened anew, and recovery decides.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import structlog

from allocation.service_layer import ports as outside
from allocation.service_layer import signals
from allocation.service_layer.relaying import passes, ports, switching

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from contextlib import AbstractContextManager

log = structlog.get_logger()

RENEWALS = 3  # in the duration of a lease: two may come late before it is lost
STANDBY_S = 0.5  # a standby asks the database this often, or oftener where the lease is short
SLOW_POLL_S = 1.0  # the safety net for hints that were missed
STOP_CHECK_S = 0.2  # how soon a stop is noticed while nothing arrives
SHORTEST_INTERVAL_S = {
    # A transaction costs the broker 2 ms of processor time however small it is: 250 a second at most.
    ports.Delivery.EXACTLY_ONCE: 0.004,
    # Without one a pass costs a millisecond, half of it the database's: five hundred a second.
    ports.Delivery.AT_LEAST_ONCE: 0.002,
}
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 3.0  # a service that is back is noticed about as soon as a person would notice it


class Duty:
    """Runs in one thread until told to stop; the pass in hand is finished first."""

    def __init__(
        self,
        *,
        shard: int,
        connect: Callable[[], AbstractContextManager[ports.Desk]],
        lease_s: float,
        delivery: ports.Delivery = ports.Delivery.EXACTLY_ONCE,
        signals: signals.Signals = signals.SILENT,
    ) -> None:
        self._shard = shard
        self._signals = signals
        self._connect = connect
        self._delivery = delivery
        self._interval_s = SHORTEST_INTERVAL_S[delivery]
        self._renewal_s = lease_s / RENEWALS
        self._size = passes.PassSize()
        self._pause_s = _FIRST_PAUSE_S
        self._status = ""
        self._renew_at = 0.0

    def run(self, stopping: threading.Event) -> None:
        """Relay or stand by; raises `RelayStopped` when a person has to decide."""
        while not stopping.is_set():
            try:
                with self._connect() as desk:
                    self._serve(desk, stopping)
            except ports.Refused:
                continue
            except outside.Retryable as error:
                status = "superseded" if isinstance(error, ports.Superseded) else "paused"
                self._note(status, str(error))
                stopping.wait(self._next_pause_s())

    def _serve(self, desk: ports.Desk, stopping: threading.Event) -> None:
        if not self._await_lease(desk.lease, stopping):
            return
        if desk.outbox.state().delivery is not self._delivery:
            with desk.open_transactions() as transactions:
                switching.switch(self._delivery, shard=self._shard, outbox=desk.outbox, transactions=transactions)
        with desk.open_log() as kafka_log:
            relay = passes.ShardRelay(
                shard=self._shard,
                outbox=desk.outbox,
                kafka_log=kafka_log,
                size=self._size,
                signals=self._signals,
            )
            self._relay(relay, desk, stopping)
        desk.lease.release()

    def _await_lease(self, lease: ports.Lease, stopping: threading.Event) -> bool:
        while not stopping.is_set():
            if lease.acquire():
                self._renew_at = time.monotonic() + self._renewal_s
                return True
            self._note("standby")
            stopping.wait(min(STANDBY_S, self._renewal_s))
        return False

    def _relay(self, relay: passes.ShardRelay, desk: ports.Desk, stopping: threading.Event) -> None:
        settled = relay.recover()
        while not stopping.is_set():
            self._keep(desk.lease)
            started = time.monotonic()
            passed = relay.run_pass()
            self._note("active", rows_settled=settled)
            self._pause_s = _FIRST_PAUSE_S
            if not passed.is_behind:
                self._rest(desk.hints, stopping)
                stopping.wait(max(0.0, started + self._interval_s - time.monotonic()))

    def _rest(self, hints: ports.Hints, stopping: threading.Event) -> None:
        """Wait for a hint that there are rows, but not for long."""
        deadline = time.monotonic() + SLOW_POLL_S
        while not stopping.is_set() and (left_s := deadline - time.monotonic()) > 0:
            if hints.wait(min(left_s, STOP_CHECK_S)):
                return

    def _keep(self, lease: ports.Lease) -> None:
        if time.monotonic() < self._renew_at:
            return
        if not lease.renew():
            raise ports.Superseded(f"the lease of relay shard {self._shard} has been taken by another relay")
        self._renew_at = time.monotonic() + self._renewal_s

    def _next_pause_s(self) -> float:
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, _LONGEST_PAUSE_S)
        return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, so that two do not meet again and again

    def _note(self, status: str, error: str | None = None, **details: object) -> None:
        """Say the status, and log it when it changes."""
        self._signals.says(f"shard {self._shard}", error and f"{status}: {error}", state=status)
        if status == self._status:
            return
        self._status = status
        event = f"relay.{status}"
        if error is None:
            log.info(event, shard=self._shard, **details)
        else:
            log.warning(event, shard=self._shard, error=error, **details)
