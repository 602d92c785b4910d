"""Logs, a group and a database in memory, as replaying sees them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from allocation.service_layer import envelopes, messages, processing, reading, topics, unit_of_work
from allocation.service_layer.operations import audit, status
from allocation.service_layer.operations.replay import ports
from allocation.service_layer.operations.verify import ports as verify
from tests import builders
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

NAMES = topics.TopicNames()
NOTE = audit.Note("jane", "a test")
AT = ports.TopicPartition("allocate", 0)
LOG = messages.LogPartition("id of allocate", 0)


def time_of(offset: int) -> datetime:
    """Return when the record at this offset was sent: one a minute."""
    return builders.NOW + timedelta(minutes=offset)


class OperatorUnitOfWork(fakes.FakeUnitOfWork):
    """With what only an operator does; the world has the rows of the audit once they are committed."""

    def __init__(self, world: World) -> None:
        super().__init__(world.database)
        self._world = world
        self._entries: list[audit.Entry] = []
        self._forgotten: set[messages.LogPartition] = set()

    def write_audit(self, entries: Iterable[audit.Entry]) -> None:
        self._entries.extend(entries)

    def forget(self, logs: Collection[messages.LogPartition]) -> None:
        self._forgotten.update(logs)

    def commit(self) -> None:
        super().commit()
        self._world.audited.extend(self._entries)
        for log in self._forgotten:
            self._world.database.state.positions.pop(log, None)


@dataclass
class World:
    """Records by partition, one a minute; `begins` where retention has taken some."""

    records: dict[ports.TopicPartition, list[messages.Record]] = field(default_factory=dict)
    begins: dict[ports.TopicPartition, int] = field(default_factory=dict)
    offsets: dict[ports.TopicPartition, int] = field(default_factory=dict)
    active: list[status.Member] = field(default_factory=list)
    database: fakes.FakeDatabase = field(default_factory=fakes.FakeDatabase)
    audited: list[audit.Entry] = field(default_factory=list)
    values: serde.FakeSerde = field(default_factory=serde.FakeSerde)

    def put(
        self, at: ports.TopicPartition, record_name: str, *, headers: messages.Headers = (), **fields: object
    ) -> messages.Record:
        """Add a record at the end of a log."""
        log = self.records.setdefault(at, [])
        record = builders.a_record(
            self.values.serialize(record_name, fields),
            topic=at.topic,
            partition=at.partition,
            offset=len(log),
            headers=headers,
        )
        log.append(record._replace(timestamp_ms=int(time_of(len(log)).timestamp() * 1000)))
        return log[-1]

    def handle(self, *records: messages.Record) -> None:
        """Let a worker handle these."""
        processing.Processor(
            begin=self.database.begin,
            reader=reading.MessageReader(topics=NAMES, deserializer=self.values),
            envelopes=envelopes.Envelopes(topics=NAMES, serializer=self.values),
            grace_s=0,
        ).process(records)

    def begin(self) -> Any:
        return OperatorUnitOfWork(self)

    def positions(self) -> Mapping[messages.LogPartition, unit_of_work.Position]:
        return self.database.state.positions

    # Logs

    def bounds(self, names: Sequence[str]) -> dict[ports.TopicPartition, verify.Bounds]:
        return {
            at: verify.Bounds(f"id of {at.topic}", self.begins.get(at, 0), len(log))
            for at, log in self.records.items()
            if at.topic in names
        }

    def times(self, partitions: Collection[ports.TopicPartition]) -> dict[ports.TopicPartition, ports.Times]:
        left = {at: self._left(at) for at in partitions}
        return {
            at: ports.Times(times[0], times[-1]) if times else ports.Times(None, None) for at, times in left.items()
        }

    def offsets_at(
        self, partitions: Collection[ports.TopicPartition], moment: datetime
    ) -> dict[ports.TopicPartition, int]:
        found = {at: [time >= moment for time in self._left(at)] for at in partitions}
        return {at: self.begins.get(at, 0) + newer.index(True) for at, newer in found.items() if True in newer}

    def between(
        self, starts: Mapping[ports.TopicPartition, int], ends: Mapping[ports.TopicPartition, int]
    ) -> Iterator[messages.Record]:
        for at, start in starts.items():
            yield from self.records[at][start : ends[at]]

    def _left(self, at: ports.TopicPartition) -> list[datetime]:
        left = self.records[at][self.begins.get(at, 0) :]
        return [datetime.fromtimestamp(record.timestamp_ms / 1000, UTC) for record in left]

    # Group

    def committed(self, partitions: Collection[ports.TopicPartition]) -> Mapping[ports.TopicPartition, int]:
        return {at: self.offsets[at] for at in partitions if at in self.offsets}

    def members(self) -> Sequence[status.Member]:
        return self.active

    def move(self, offsets: Mapping[ports.TopicPartition, int]) -> None:
        self.offsets.update(offsets)


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""
