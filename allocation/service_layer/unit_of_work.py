"""The unit of work: everything that one micro-batch reads and writes, in one transaction.

Handlers see `UnitOfWork`: products, and a place to announce what happened. Message processing sees
`MessageUnitOfWork`, which also holds the position in each log, the inbox, the parked commands, the
journal and the outbox, so that a message's effect and the proof that it was handled are one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from allocation.domain import commands, events, model
    from allocation.service_layer import external_events, messages


# Parked commands that one transaction loads of long queues, and so handles: done within a second or two.
QUEUE_CHUNK = 2000


class Products(Protocol):
    """The aggregates; what is got or added is written at commit."""

    def get(self, sku: str) -> model.Product | None:
        """Return the product, None when no batch of it was ever created."""

    def get_by_batchref(self, batchref: str) -> model.Product | None:
        """Return the product that has this batch, None when the reference is unknown."""

    def add(self, product: model.Product) -> None:
        """Take in a product that `get` does not know."""


class UnitOfWork(Protocol):
    """What a handler works with; opened and committed by its caller."""

    @property
    def products(self) -> Products:
        """The aggregates."""

    def announce(self, event: external_events.ExternalEvent) -> None:
        """Publish an event once this unit of work is committed."""

    def collect_new_events(self) -> Iterable[events.Event | commands.Command]:
        """Hand over what the products touched since the last call want handled, each once."""


class Position(NamedTuple):
    """How far a log is handled, and by what its last record can be recognised."""

    topic: str
    next_offset: int
    leader_epoch: int
    last_offset: int
    last_digest: bytes


class InboxEntry(NamedTuple):
    """What became of the message with this identity; `outcome` is handled, refused or waiting."""

    id: messages.MessageId
    attempt: int
    digest: bytes
    outcome: str
    topic: str
    partition: int
    offset: int
    result: str | None = None
    reason: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ParkedCommand:
    """A command that keeps its place in `queue`.

    `state` is waiting (it was tried, and is ahead of its batch), queued (it was not its turn yet) or poisoned.
    `id` gives the order; None until it is stored. `error_class` and `stack` tell of an unexpected error.
    """

    queue: str
    state: str
    message: messages.Message
    reason: str
    error: str
    expires_at: datetime | None
    id: int | None = None
    error_class: str = ""
    stack: str = ""


class JournalEntry(NamedTuple):
    """What was done with the records of one log from `first` to `last` offset, in the order of doing."""

    what: str
    topic: str
    partition: int
    first: int
    last: int


class MessageUnitOfWork(UnitOfWork, Protocol):
    """A unit of work for a micro-batch of messages.

    Used as a context manager: rolled back at the end unless `commit` was called. `now` is the
    transaction's time by the database's clock, and the only clock there is. Every method may raise
    `Retryable`, after which the whole unit of work must be given up and begun anew.
    """

    now: datetime

    def __enter__(self) -> Self:
        """Begin the transaction."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Roll back what was not committed."""

    def positions(self, logs: Collection[messages.LogPartition]) -> Mapping[messages.LogPartition, Position]:
        """Read how far these logs are handled; a log without a position is not in the answer."""

    def claim(
        self,
        claimed: Sequence[messages.Message],
        *,
        heads_suffice: bool = False,
        oldest_of: Collection[str] = (),
        ids: Collection[int] = (),
        at_most: int | None = None,
    ) -> None:
        """Lock every sku and batch reference that these messages and what is parked for them name, then load them.

        Locks come first, sorted, in statements of their own; nothing may be read before. With `heads_suffice`
        only the oldest command need be loaded of a queue that no claimed `CreateBatch` can release: that the
        queue is there is all that matters then, and it may be long. Of those that can be released, the oldest
        commands of all are loaded, `QUEUE_CHUNK` at most.

        With `oldest_of`, these queues are locked as well, and of them alone something is loaded: the oldest, an
        equal share of `at_most` (else of `QUEUE_CHUNK`) each, the first that is poisoned or creates a batch, and
        those with these ids.
        """

    def inbox_entry(self, id: messages.MessageId) -> InboxEntry | None:  # noqa: A002 - CloudEvents' word
        """Return what became of a claimed message's identity, including in this unit of work."""

    def record(self, entry: InboxEntry) -> None:
        """Write what became of a message."""

    def parked(self, queues: Collection[str]) -> Sequence[ParkedCommand]:
        """Return what is parked in these queues (claimed before), the oldest first."""

    def is_occupied(self, queue: str) -> bool:
        """Tell whether anything is parked in this queue (claimed before), loaded or not."""

    def has_more(self, queue: str) -> bool:
        """Tell whether there may be more in this queue (claimed before) behind what was loaded of it."""

    def bars_batches(self, queue: str) -> bool:
        """Tell whether a new batch must stand behind this queue: something is poisoned, or its release not finished."""

    def release_later(self, queues: Collection[str]) -> None:
        """Note that these queues can be gone through further, for whoever does so in another transaction."""

    def release_ended(self, queues: Collection[str]) -> None:
        """Note that nothing more in these queues can be released now."""

    def move_queue(self, queue: str, *, to: str) -> None:
        """Put all of a queue into another (both claimed), in the order in which they came."""

    def repark(self, parked: ParkedCommand) -> None:
        """Write the state, reason, error and grace of a parked command anew; it keeps its place."""

    def queues_naming(self, batchref: str) -> Collection[str]:
        """Return the queues that hold a command for this batch reference (claimed before)."""

    def park(self, parked: ParkedCommand) -> None:
        """Add a command at the end of its queue."""

    def unpark(self, parked: ParkedCommand) -> None:
        """Take a command out of its queue."""

    def send(self, outgoing: messages.OutboxMessage) -> None:
        """Put a message into the outbox."""

    def take_announced(self) -> Sequence[external_events.ExternalEvent]:
        """Return the events announced since the last call."""

    def next_sequence(self, sku: str) -> int:
        """Return the number of the next event of a claimed sku."""

    def journal(self, entries: Iterable[JournalEntry], *, oldest_ms: int | None = None) -> None:
        """Write the journal's row of this unit of work.

        `oldest_ms` is when the oldest was sent (Unix time) of the commands that were just read from their logs.
        """

    def advance(self, log: messages.LogPartition, *, expected: Position | None, new: Position) -> None:
        """Move a position at commit, if it is still the expected one; else `commit` raises `Retryable`."""

    def commit(self) -> None:
        """Write all differences and commit."""


def share_of_each(queues: Collection[str], *, at_most: int | None = None) -> int:
    """Return how many commands are loaded of each of these queues; see `claim`."""
    return max(1, (at_most or QUEUE_CHUNK) // max(1, len(queues)))


def sku_queue(sku: str) -> str:
    """Name the queue, and the lock, of a sku."""
    return f"sku:{sku}"


def ref_queue(batchref: str) -> str:
    """Name the queue, and the lock, of a batch reference whose sku is unknown."""
    return f"ref:{batchref}"
