"""What has been taken from Redis and is not in Kafka yet.

A group that could not be sent is sent again as it was: only so can Kafka's side tell that a
transaction, whose end nobody saw, was committed after all.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

import structlog

from allocation.service_layer import kill_points
from allocation.service_layer import ports as outside
from allocation.service_layer.bridging import perseverance, ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from allocation.service_layer import messages

log = structlog.get_logger()

GROUP_MESSAGES = 500  # in one transaction; it takes some 20 ms, and what arrives meanwhile forms the next
GROUP_BYTES = 4 * 1024 * 1024  # far below what a Kafka client buffers


class Pending:
    """Keeps messages in order of arrival; belongs to one tenure and one thread.

    `tell` hears why nothing can be sent, `sent` what was committed.
    """

    def __init__(
        self,
        *,
        forwarder: ports.Forwarder,
        lease: ports.Lease,
        tell: Callable[[str], None],
        sent: Callable[[Sequence[messages.OutboxMessage]], None],
    ) -> None:
        self._forwarder = forwarder
        self._sent = sent
        self._lease = lease
        self._started = False
        self._pauses = perseverance.Pauses("kafka", tell=tell)
        self._due = 0.0
        self._group: tuple[messages.OutboxMessage, ...] = ()
        self._waiting: deque[messages.OutboxMessage] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._group) + len(self._waiting)

    @property
    def pause_s(self) -> float:
        """How long to wait, in seconds, until the next attempt is due."""
        return max(0.0, self._due - time.monotonic())

    def start(self) -> None:
        """Make this the only forwarder. Raises `Retryable`, `TakenOver`.

        The lease is looked at on both sides: before, lest the bridge that works now is fenced for
        nothing; after, since only then whoever takes the lease next will fence us.
        """
        self._check_lease()
        self._forwarder.start()
        self._check_lease()
        self._started = True

    def add(self, outgoing: messages.OutboxMessage) -> None:
        """Take one more."""
        self._waiting.append(outgoing)
        self.bytes += _size(outgoing)

    def send(self) -> None:
        """Send everything, a group at a time; what cannot be sent now stays. Raises `TakenOver`."""
        while self and not self.pause_s:
            try:
                self._send_group()
            except outside.Retryable as error:
                self._started = False
                self._due = time.monotonic() + self._pauses.after(error, pending=len(self))

    def _check_lease(self) -> None:
        if not self._lease.renew():
            msg = f"another bridge works now; {len(self)} messages from Redis are left to it or lost"
            raise ports.TakenOver(msg)

    def _send_group(self) -> None:
        began = time.monotonic()
        if not self._started:
            self.start()
        self._group = self._group or tuple(self._next_group())
        kill_points.reached("bridge.before_forward")
        self._forwarder.send(self._group)
        kill_points.reached("bridge.after_forward")
        self._sent(self._group)
        log.info("bridge.inbound.forwarded", messages=len(self._group), duration_ms=_ms_since(began))
        self.bytes -= sum(map(_size, self._group))
        self._group = ()
        self._pauses.reset()

    def _next_group(self) -> Iterable[messages.OutboxMessage]:
        size = count = 0
        while self._waiting and count < GROUP_MESSAGES and size < GROUP_BYTES:
            outgoing = self._waiting.popleft()
            count, size = count + 1, size + _size(outgoing)
            yield outgoing


def _size(outgoing: messages.OutboxMessage) -> int:
    return len(outgoing.value or b"")


def _ms_since(began: float) -> float:
    return round(1000 * (time.monotonic() - began), 1)
