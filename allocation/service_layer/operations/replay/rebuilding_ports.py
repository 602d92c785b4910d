"""What a rebuild reads and writes. All of it blocks, belongs to one thread, and may raise `Retryable`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from allocation.service_layer import unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from allocation.service_layer import messages
    from allocation.service_layer.operations.replay import journal_order

Progress = Callable[[str, int, int], None]  # what is done, how much of it, of how much


class Place(NamedTuple):
    """Where a record lies, by the topic's name."""

    topic: str
    partition: int
    offset: int


class RebuildUnitOfWork(unit_of_work.MessageUnitOfWork, Protocol):
    """A worker's unit of work in which the journal is given; `now` is set to the time of each of its rows."""

    def seek(self, places: Collection[Place]) -> None:
        """Load the parked commands that were read there; their messages were claimed before."""

    def waiting_at(self, place: Place) -> unit_of_work.ParkedCommand | None:
        """Return the parked command (sought before, or parked here) that was read there."""

    def keep_journal(self, rows: Sequence[journal_order.Row]) -> None:
        """Write these rows as they are; none goes into the outbox."""


class Target(Protocol):
    """The database that is filled."""

    def begin(self, outbound: Outbound) -> RebuildUnitOfWork:
        """Return a new unit of work, of which that much goes out."""

    def known(self) -> journal_order.Known:
        """Return which rows of the journal it has."""

    def parked(self) -> Iterable[messages.Message]:
        """Return the messages that are parked in it."""

    def finish(self) -> None:
        """Let new rows be numbered after those that were given."""


class CommandLogs(Protocol):
    """The command topics, each partition in its order, as a `read_committed` consumer sees them."""

    total: int
    """How many records they may hold."""
    passed_over: int
    """How many records `take` has left out so far."""

    def take(self, entry: unit_of_work.JournalEntry) -> Sequence[messages.Record]:
        """Return the next records of a log that lie within the entry; those before it are passed over.

        Raises `JournalUnusable` when the entry's last record is not there.
        """

    def in_order_of_time(self, *, until: datetime | None) -> Iterator[messages.Record]:
        """Yield all records by timestamp, then topic, partition and offset; each partition stays in its order."""


class Outbound(Protocol):
    """Decides what becomes of what the handlers want sent."""

    def before_commit(self, outgoing: Sequence[messages.OutboxMessage]) -> Iterable[messages.OutboxMessage]:
        """Return what goes into the outbox of the same transaction."""

    def after_commit(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        """Do what is to be done with it once it is true."""


class Suppressed:
    """An `Outbound` that sends nothing."""

    def before_commit(self, outgoing: Sequence[messages.OutboxMessage]) -> Iterable[messages.OutboxMessage]:
        """Return nothing."""
        del outgoing
        return ()

    def after_commit(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        """Do nothing."""


class Journal(Protocol):
    """The journal's topic."""

    def read(self, on_progress: Progress) -> Mapping[int, journal_order.Row] | None:
        """Return all its rows by number; None when the topic, or the beginning of it, is gone."""
