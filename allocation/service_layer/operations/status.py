"""How an installation is doing: what waits where, who works on it, and which part is missing.

Looks only, changes nothing, and says what it can say when parts are down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from allocation.service_layer import messages

_Figures = TypeVar("_Figures")


class Partition(NamedTuple):
    """A partition of a command topic in Kafka; `committed` is the group's offset, which is for other tools only."""

    topic: str
    log: messages.LogPartition
    begin: int
    end: int
    committed: int | None


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """How many there are; where they are too many to count, at most so many."""

    count: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A worker in the consumer group, and how many partitions it has."""

    name: str
    host: str
    partitions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaFigures:
    """What Kafka knows."""

    cluster_id: str
    partitions: tuple[Partition, ...]
    missing_topics: tuple[str, ...]
    dead_letters: DeadLetters
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Backlog:
    """Rows that wait, and for how long the oldest has; None when there are none."""

    rows: int
    oldest_age_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFigures:
    """What the database knows; `parked` by state, `owners` by what only one may work on.

    `maintained_at` is when all that was old was last taken out; None if it never was. `oldest_transaction_s` is for how
    long somebody has kept deleted rows from being cleaned up, 0 if nobody does.
    """

    next_offsets: Mapping[messages.LogPartition, int]
    outbox: Backlog
    quarantined: Backlog
    parked: Mapping[str, Backlog]
    owners: Mapping[str, str]
    maintained_at: datetime | None = None
    oldest_transaction_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a partition is handled: `lag` offsets of it are not (the marker of a transaction counts as one)."""

    topic: str
    partition: int
    position: int
    end: int
    lag: int
    committed: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """What could be found out; `problems` says by part what could not, or does not fit."""

    problems: Mapping[str, str] = field(default_factory=dict)
    kafka: KafkaFigures | None = None
    database: DatabaseFigures | None = None

    @property
    def lags(self) -> tuple[Lag, ...]:
        """How far each partition of the command topics is handled; nothing unless Kafka and the database answer."""
        if self.kafka is None or self.database is None:
            return ()
        return lags(self.kafka.partitions, self.database.next_offsets)


class Fits(Protocol):
    """Whether the database belongs to a cluster."""

    def __call__(self, *, cluster_id: str) -> None:
        """Raise one of the expected errors unless it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Looks at one installation.

    Everything blocks until it is done. Each of `others` raises when the part of that name does not
    answer; `expected` are the errors that say that a part is down or does not fit.
    """

    kafka: Callable[[], KafkaFigures]
    database: Callable[[], DatabaseFigures]
    fits: Fits
    others: Mapping[str, Callable[[], object]]
    expected: tuple[type[Exception], ...]

    def look(self) -> Status:
        """Ask every part."""
        problems: dict[str, str] = {}
        kafka = self._ask("Kafka", self.kafka, problems)
        database = self._ask("database", self.database, problems)
        if kafka is not None and kafka.missing_topics:
            problems["topics"] = missing(kafka.missing_topics)
        if kafka is not None and database is not None:
            cluster_id = kafka.cluster_id
            self._ask("installation", lambda: self.fits(cluster_id=cluster_id), problems)
        for name, check in self.others.items():
            self._ask(name, check, problems)
        return Status(problems, kafka, database)

    def _ask(self, name: str, ask: Callable[[], _Figures], problems: dict[str, str]) -> _Figures | None:
        try:
            return ask()
        except self.expected as error:
            problems[name] = str(error)
            return None


def missing(topics: Iterable[str]) -> str:
    """Say that topics are missing, and what to do."""
    return f"{', '.join(topics)}: missing; `allocation init` creates the topics"


def lags(partitions: Iterable[Partition], next_offsets: Mapping[messages.LogPartition, int]) -> tuple[Lag, ...]:
    """Compare what Kafka has with what the database has handled."""
    return tuple(_lag(partition, next_offsets) for partition in partitions)


def _lag(partition: Partition, next_offsets: Mapping[messages.LogPartition, int]) -> Lag:
    position = next_offsets.get(partition.log, partition.begin)
    return Lag(
        topic=partition.topic,
        partition=partition.log.partition,
        position=position,
        end=partition.end,
        lag=max(partition.end - position, 0),
        committed=partition.committed,
    )
