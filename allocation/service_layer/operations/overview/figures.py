"""What is looked up for an overview, beside what `status` tells: enough to see movement, and what stands still."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from allocation.service_layer.operations import status


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """What Kafka tells without its group coordinator; `events` has the offsets of each topic of events.

    Offsets count the markers of transactions, too.
    """

    partitions: tuple[status.Partition, ...]
    events: Mapping[str, int]
    missing_topics: tuple[str, ...]
    dead_letters: status.DeadLetters


class Shard(NamedTuple):
    """A shard of the outbox: the relay's passes so far, the rows that wait, and for how long the oldest has."""

    number: int
    passes: int
    rows: int
    oldest_age_s: float | None

    @property
    def owner(self) -> str:
        """What its lease is called."""
        return f"relay-{self.number}"


class Poisoned(NamedTuple):
    """A command that fails, and how many stand behind it in its queue."""

    id: int
    queue: str
    error: str
    error_class: str
    behind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the database tells.

    `written` counts the rows that were ever put into the outbox; `workers` are those that are connected to it.
    """

    database: status.DatabaseFigures
    shards: tuple[Shard, ...]
    written: int
    poisoned: tuple[Poisoned, ...]
    workers: frozenset[str] = frozenset()


class Stock(NamedTuple):
    """All batches together; `lines` counts the order lines that have a batch.

    `events` counts all that ever happened, `announced` those of them that are on their topics.
    """

    skus: int
    batches: int
    purchased: int
    allocated: int
    lines: int
    events: int
    announced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known at one moment, None where it is not; `problems` says by part why not.

    `at_s` is of a clock that only goes on; `time` is for people. `parts` has the parts that were asked how
    they are: what is wrong with each, empty when all is well.
    """

    at_s: float
    time: datetime
    problems: Mapping[str, str] = field(default_factory=dict)
    cluster_id: str | None = None
    logs: Logs | None = None
    members: tuple[status.Member, ...] | None = None
    work: Work | None = None
    stock: Stock | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
