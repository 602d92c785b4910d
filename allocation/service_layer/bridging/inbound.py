"""From Redis to Kafka: each message that was published while we were subscribed is forwarded once.

A message that has been taken from Redis exists nowhere else until Kafka has committed it: it is kept
through an outage of Kafka, with the identity that it was given at first, and is given up only when
another bridge has taken over or the process ends.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from allocation.service_layer import ports as outside
from allocation.service_layer import signals
from allocation.service_layer.bridging import pending, perseverance, ports

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from allocation.service_layer.bridging import intake

log = structlog.get_logger()

_ITEM = "from redis"

MAX_PENDING_BYTES = 64 * 1024 * 1024  # kept while Kafka is down; then Redis keeps what its own limit allows
IDLE_S = 0.5  # how soon a stop is noticed when nothing comes in
FAREWELL_S = 10.0  # what is in hand at a stop is tried for this long: below the 30 s that Kubernetes gives


class Inbound:
    """Forwards for as long as the lease is ours; to be run by one thread."""

    def __init__(
        self,
        *,
        intake: intake.Intake,
        subscribe: Callable[[], AbstractContextManager[ports.Subscription]],
        forwarder: ports.Forwarder,
        lease: ports.Lease,
        signals: signals.Signals = signals.SILENT,
    ) -> None:
        self._intake = intake
        self._signals = signals
        self._subscribe = subscribe
        self._forwarder = forwarder
        self._lease = lease
        self._pending = self._nothing()

    def run(self, stopping: threading.Event) -> None:
        """Forward until told to stop. Raises `TakenOver` when another bridge works now."""
        try:
            self._run(stopping)
        finally:
            self._signals.forgets(_ITEM)

    def _run(self, stopping: threading.Event) -> None:
        self._pending = self._nothing()
        perseverance.keep_trying(self._pending.start, what="kafka", stopping=stopping, tell=self._tell)
        pauses = perseverance.Pauses("redis", tell=self._tell)
        while not stopping.is_set():
            try:
                self._work(pauses, stopping)
            except outside.DependencyDown as error:
                pause_s = pauses.after(error)
                self._pending.send()
                stopping.wait(pause_s)
        self._say_farewell()

    def _nothing(self) -> pending.Pending:
        return pending.Pending(
            forwarder=self._forwarder, lease=self._lease, tell=self._tell, sent=self._signals.forwarded
        )

    def _tell(self, problem: str) -> None:
        self._signals.says(_ITEM, problem)

    def _work(self, pauses: perseverance.Pauses, stopping: threading.Event) -> None:
        with self._subscribe() as subscription:
            log.info("bridge.inbound.subscribed", channels=self._intake.channels)
            pauses.reset()
            while not stopping.is_set():
                self._take(subscription, stopping)
                self._pending.send()
                if not self._pending:
                    self._signals.says(_ITEM)
            self._wrap(subscription.drain())

    def _take(self, subscription: ports.Subscription, stopping: threading.Event) -> None:
        wait_s = self._pending.pause_s if self._pending else IDLE_S
        if self._pending.bytes < MAX_PENDING_BYTES:
            self._wrap(subscription.take(limit=pending.GROUP_MESSAGES, timeout_s=wait_s))
        else:
            stopping.wait(wait_s)

    def _wrap(self, arrived: Iterable[ports.Published]) -> None:
        for published in arrived:
            outgoing, problem = self._intake.wrap(published)
            if problem is not None:
                log.warning("bridge.inbound.refused", channel=published.channel, reason=problem.reason)
            self._pending.add(outgoing)

    def _say_farewell(self) -> None:
        deadline = time.monotonic() + FAREWELL_S
        while self._pending and time.monotonic() < deadline:
            time.sleep(self._pending.pause_s)
            self._pending.send()
        if self._pending:
            log.error("bridge.inbound.given_up", messages=len(self._pending), error="Kafka did not take them in time")
