"""What the bridge needs from Redis, Kafka, the mail server and the database.

Everything blocks until it is done. Nothing may be shared between threads, except the lease.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from allocation.service_layer import external_events, messages


class TakenOver(Exception):
    """The lease is another bridge's now; what this one still holds is not its own to forward."""


class Published(NamedTuple):
    """A message as a program published it on a Redis channel."""

    channel: str
    payload: bytes


class Announcement(NamedTuple):
    """An event that is to be passed on; the same `id` twice is the same event twice."""

    id: str
    event: external_events.ExternalEvent


class Bounds(NamedTuple):
    """The first offset that a partition still has, and the one that its next committed record will get."""

    low: int
    high: int


class Subscription(Protocol):
    """The inbound channels, subscribed to since the object exists."""

    def take(self, *, limit: int, timeout_s: float) -> Sequence[Published]:
        """Wait up to `timeout_s` for a message; return it with what else has arrived, at most `limit`.

        Raises `DependencyDown` when the connection is lost; what is published until the next
        subscription is lost as well.
        """

    def drain(self) -> Sequence[Published]:
        """Unsubscribe, and return what had been published before."""


class Forwarder(Protocol):
    """Writes to Kafka in transactions, as the only one with its name."""

    def start(self) -> None:
        """Fence whoever had the name before. Needed again after any error. Raises `DependencyDown`."""

    def send(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        """Commit these in one transaction, or none of them.

        Raises `DependencyDown`, also when it was fenced. After that, `start` and then `send` with the
        same messages writes them once, even if the broken transaction was committed after all.
        """


class Sink(Protocol):
    """Where events are passed on to."""

    def deliver(self, announcements: Sequence[Announcement]) -> int:
        """Pass on one or more from the front; return how many.

        Raises `DependencyDown` when not even the first was taken. May be repeated: whoever reads
        there must bear seeing an event twice.
        """


class EventLog(Protocol):
    """The committed records of one topic of events, all partitions."""

    @property
    def topic_id(self) -> str:
        """The id of the topic that was opened."""

    def bounds(self) -> Mapping[int, Bounds]:
        """Return where each partition begins and ends. Raises `DependencyDown`."""

    def start(self, offsets: Mapping[int, int]) -> None:
        """Read on from these offsets, one a partition."""

    def take(self, *, limit: int, timeout_s: float) -> Sequence[messages.Record]:
        """Wait up to `timeout_s` for a record; return it with what else has arrived, at most `limit`.

        Raises `DependencyDown`, also when an offset does not exist any more.
        """

    def has_changed(self) -> bool:
        """Tell whether the topic has got partitions, or was made anew, since it was opened. Raises `DependencyDown`."""


class Positions(Protocol):
    """How far each reader has passed its events on."""

    def load(self, *, reader: str, topic_id: str) -> Mapping[int, int]:
        """Return the next offset by partition; nothing if this reader never saw the topic. Raises `Retryable`."""

    def advance(self, *, reader: str, topic_id: str, next_offsets: Mapping[int, int]) -> None:
        """Store positions that are further on than the stored ones; never go back. Raises `Retryable`."""

    def reset(self, *, reader: str, topic_id: str, next_offsets: Mapping[int, int]) -> None:
        """Store positions, wherever they were. Raises `Retryable`."""


class Lease(Protocol):
    """The right to be the one bridge that works; threads may share it."""

    def acquire(self) -> bool:
        """Take the lease if it is free or has expired; tell whether it is ours. Raises `Retryable`."""

    def renew(self) -> bool:
        """Prolong the lease; False if it was taken by another since. Raises `Retryable`."""

    def release(self) -> None:
        """Give the lease back if it is ours. Raises `Retryable`."""
