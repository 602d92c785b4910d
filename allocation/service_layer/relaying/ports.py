"""What the relay needs of the database and of Kafka, for one shard of the outbox.

Everything blocks until it is done, none of it may be shared between threads, and all of it may raise
`Retryable` or `DependencyDown`; then it is thrown away and made anew.
"""

from __future__ import annotations

import enum
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


class Delivery(enum.StrEnum):
    """How often an event reaches its topic; the values are those of the setting and of the database."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"


class Superseded(outside.Retryable):
    """Another relay has taken the shard over; what this one was about to do has had no effect."""


class Refused(Exception):
    """Kafka will never take one of the rows of a pass.

    In a transaction nothing of the pass was sent, or will be; without one some may have been, but of no partition
    what comes after the refused row.
    """


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
    delivery: Delivery = Delivery.EXACTLY_ONCE


@dataclass(frozen=True, slots=True)
class Window:
    """The first unsent rows; `is_cut`: more are there."""

    rows: Sequence[Row]
    is_cut: bool


class Outbox(Protocol):
    """The rows of one shard."""

    def state(self) -> ShardState:
        """Return the state of the shard; raises `RelayStopped` when there is no such shard."""

    def read(self, *, limit: int, state: ShardState) -> Window:
        """Return the first unsent rows in id order, without those behind a quarantined one of their sku.

        Raises `Superseded` if the shard is not in this state any more.
        """

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

    def switch(self, delivery: Delivery, *, state: ShardState) -> int:
        """Deliver otherwise from now on, unless the shard has rows, quarantined or not; return how many it has.

        Raises `Superseded`, and changes nothing, if the shard is not in this state any more.
        """


class Log(Protocol):
    """The Kafka side of one shard."""

    def last_checkpoint(self) -> checkpoints.Checkpoint | None:
        """Return the checkpoint of the last committed transaction; None if there is none, or none is kept."""

    def send(self, rows: Sequence[Row], checkpoint: checkpoints.Checkpoint) -> None:
        """Send the rows; returns once Kafka holds them.

        After any error this object is of no use any more. Raises `Refused`, `Superseded` (nothing was sent) and
        `DependencyDown` (unknown what was).
        """


class TransactionLog(Log, Protocol):
    """A log that sends rows and checkpoint in one transaction: all of it or nothing.

    Since it exists, every relay of the shard that was there before and uses transactions is fenced off.
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

    def add(self, *, count: int, delivery: Delivery) -> Sequence[int]:
        """Make sure that there are shards 0 to `count` - 1, new ones that deliver so; return all."""

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
    """All that is needed to relay one shard, connected to the database; logs are opened by the lease's owner.

    `open_log` opens the one that delivers as is wanted, `open_transactions` that with the checkpoints.
    """

    lease: Lease
    outbox: Outbox
    hints: Hints
    open_log: Callable[[], AbstractContextManager[Log]]
    open_transactions: Callable[[], AbstractContextManager[TransactionLog]]
