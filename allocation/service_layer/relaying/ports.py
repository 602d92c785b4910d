"""What the relay needs of the database and of Kafka, for one shard of the outbox.

Everything blocks until it is done, none of it may be shared between threads, and all of it may raise
`Retryable` or `DependencyDown`; then it is thrown away and made anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from allocation.service_layer import ports as outside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from allocation.service_layer.relaying import checkpoints

# id, topic, partition (None: the key decides), key, value, headers as the outbox has them. A plain tuple, as the
# driver makes it: a hundred thousand of them go through in a second.
Row = tuple[int, str, int | None, bytes | None, bytes | None, str]


class Superseded(outside.Retryable):
    """Another relay has taken the shard over; what this one was about to do has had no effect."""


class Refused(Exception):
    """Kafka will never take one of the rows of a pass; nothing of the pass was sent, or will be."""


class RelayStopped(Exception):
    """Going on could lose events or send them twice; a person has to decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardState:
    """What the database knows of a shard; `passes` are those whose rows are deleted, `earlier` what went before."""

    database_id: str
    incarnation: str
    passes: int
    is_checkpointed: bool
    earlier: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Window:
    """The first unsent rows, and the state of the shard after they were read; `is_cut`: more rows are there."""

    rows: Sequence[Row]
    is_cut: bool
    state: ShardState


class Outbox(Protocol):
    """The rows of one shard."""

    def state(self) -> ShardState:
        """Return the state of the shard; raises `RelayStopped` when there is no such shard."""

    def read(self, *, limit: int) -> Window:
        """Return the first unsent rows in id order, without those behind a quarantined one of their sku."""

    def count(self, checkpoint: checkpoints.Checkpoint) -> int:
        """Return how many of the rows of this pass are there."""

    def settle(self, checkpoint: checkpoints.Checkpoint) -> int:
        """Delete the rows of this pass and count the pass, in one transaction; return how many rows there were.

        Raises `Superseded`, and changes nothing, if this is not the next pass of this incarnation.
        """

    def quarantine(self, row_id: int, *, reason: str, state: ShardState) -> int:
        """Set a row aside, with those of its sku that come after it; return how many rows.

        Raises `Superseded`, and changes nothing, if the shard is not in this state any more.
        """


class TransactionLog(Protocol):
    """The Kafka side of one shard; since it exists, every other relay of the shard is fenced off."""

    def last_checkpoint(self) -> checkpoints.Checkpoint | None:
        """Return the checkpoint of the last committed transaction, if there is any."""

    def send(self, rows: Sequence[Row], checkpoint: checkpoints.Checkpoint) -> None:
        """Send the rows and the checkpoint in one transaction; returns once it is committed.

        After any error this object is of no use any more. Raises `Refused` and `Superseded` (nothing
        was sent), `DependencyDown` (unknown whether it was).
        """


class Lease(Protocol):
    """The right to be the one relay of the shard; it expires by the database's clock."""

    def acquire(self) -> bool:
        """Take the lease if it is free or has expired; tell whether it is ours."""

    def renew(self) -> bool:
        """Prolong the lease; False if another has taken it since."""

    def release(self) -> None:
        """Give the lease back if it is ours."""


class Hints(Protocol):
    """Tells that rows may have been added; a hint may be missed, and may be in vain."""

    def wait(self, timeout_s: float) -> bool:
        """Block until there is a hint or the time is over; tell whether there was one."""


class Shards(Protocol):
    """Which shards the outbox has."""

    def add(self, *, count: int) -> Sequence[int]:
        """Make sure that there are shards 0 to `count` - 1; return all."""

    def unchecked(self, shard: int) -> AbstractContextManager[PendingShard | None]:
        """Lock a shard; None when it has its first checkpoint."""


class PendingShard(Protocol):
    """A shard that has no checkpoint yet, locked."""

    def state(self) -> ShardState:
        """Return its state; raises `Retryable` when the lock is lost."""

    def finish(self) -> None:
        """Note that the first checkpoint is in Kafka."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """All that is needed to relay one shard, connected to the database; the log is opened by the lease's owner."""

    lease: Lease
    outbox: Outbox
    hints: Hints
    open_log: Callable[[], AbstractContextManager[TransactionLog]]
