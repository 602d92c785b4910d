"""The command topics read in an order that is given from outside, in bounded memory.

One consumer reads all partitions at once. What comes for one while another is asked for is kept; a partition
of which enough is kept is paused until less is. Only committed records, no group, nothing is committed.
"""

from __future__ import annotations

import contextlib
import heapq
import time
from collections import deque
from typing import TYPE_CHECKING

import confluent_kafka

from allocation.adapters.kafka import clients, errors, log_reader, topics
from allocation.service_layer import ports
from allocation.service_layer.operations.replay import journal_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from allocation.service_layer import messages, unit_of_work

# Records kept of one partition: two large micro-batches. With 18 partitions and 1 kB each, some 100 MB at most.
_ENOUGH = 5000
_FEW = 1000
_CHUNK = 1000
_POLL_TIMEOUT_S = 0.1


class OrderedLogs:
    """See `rebuilding_ports.CommandLogs`; for one thread."""

    def __init__(
        self,
        consumer: confluent_kafka.Consumer,
        *,
        topic_ids: Mapping[str, str],
        bounds: Mapping[topics.TopicPartition, topics.Watermarks],
        servers: str,
    ) -> None:
        self._consumer = consumer
        self._topic_ids = topic_ids
        self._bounds = bounds
        self._servers = servers
        self._kept: dict[topics.TopicPartition, deque[messages.Record]] = {key: deque() for key in bounds}
        self._reached = {key for key, marks in bounds.items() if marks.begin >= marks.end}
        self._paused: set[topics.TopicPartition] = set()
        self.total = sum(marks.end - marks.begin for marks in bounds.values())
        self.passed_over = 0

    def take(self, entry: unit_of_work.JournalEntry) -> Sequence[messages.Record]:
        """Return the next records of a log that lie within the entry."""
        key = topics.TopicPartition(entry.topic, entry.partition)
        if key not in self._bounds:
            raise journal_order.JournalUnusable(
                f"the journal names {entry.topic}/{entry.partition}: there is no such log"
            )
        taken: list[messages.Record] = []
        while (record := self._peek(key)) is not None and record.offset <= entry.last:
            self._kept[key].popleft()
            if record.offset >= entry.first:
                taken.append(record)
            else:
                self.passed_over += 1
        if entry.what != "skipped" and (not taken or taken[-1].offset != entry.last):
            raise journal_order.JournalUnusable(
                f"{entry.topic}/{entry.partition} has no record at offset {entry.last}, which the journal says was "
                f"{entry.what}: retention has removed it, or it is another topic of that name, and all are needed"
            )
        return taken

    def in_order_of_time(self, *, until: datetime | None) -> Iterator[messages.Record]:
        """Yield all records by timestamp, then topic, partition and offset."""
        latest_ms = None if until is None else until.timestamp() * 1000
        for record in heapq.merge(*(self._rest(key) for key in sorted(self._bounds)), key=_by_time):
            if latest_ms is None or record.timestamp_ms <= latest_ms:
                yield record

    def _rest(self, key: topics.TopicPartition) -> Iterator[messages.Record]:
        while (record := self._peek(key)) is not None:
            self._kept[key].popleft()
            yield record

    def _peek(self, key: topics.TopicPartition) -> messages.Record | None:
        """Return the next record of a partition, None at its end."""
        kept = self._kept[key]
        if len(kept) < _FEW and key in self._paused:
            self._consumer.resume([confluent_kafka.TopicPartition(*key)])
            self._paused.discard(key)
        since = time.monotonic()
        while not kept and key not in self._reached:
            if self._fetch():
                since = time.monotonic()
            elif time.monotonic() - since > log_reader.STALL_TIMEOUT_S:
                msg = f"Kafka at {self._servers} has sent nothing of {key.topic}[{key.partition}] for a long time"
                raise ports.DependencyDown(msg)
        return kept[0] if kept else None

    def _fetch(self) -> bool:
        first = self._consumer.poll(_POLL_TIMEOUT_S)
        chunk = [] if first is None else [first, *self._consumer.consume(_CHUNK - 1, 0)]
        for message in chunk:
            self._keep(message)
        for key, kept in self._kept.items():
            if len(kept) > _ENOUGH and key not in self._paused:
                self._consumer.pause([confluent_kafka.TopicPartition(*key)])
                self._paused.add(key)
        return bool(chunk)

    def _keep(self, message: confluent_kafka.Message) -> None:
        key = topics.TopicPartition(message.topic() or "", message.partition() or 0)
        error, offset = message.error(), message.offset() or 0
        if error is None:
            if offset < self._bounds[key].end:
                self._kept[key].append(log_reader.record_of(message, self._topic_ids[key.topic]))
            offset += 1
        elif error.code() != confluent_kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001 - marks a local code
            where = f"read {key.topic}[{key.partition}] at offset {offset}"
            raise errors.failure(where, error, servers=self._servers)
        if offset >= self._bounds[key].end:
            self._reached.add(key)


@contextlib.contextmanager
def open_logs(
    config: clients.ClientConfig, names: Sequence[str], *, starts: Mapping[tuple[str, int], int]
) -> Iterator[OrderedLogs]:
    """Open topics from their beginnings, or from the offsets `starts`, to where they end now.

    Raises `KafkaRefused` for a topic that does not exist, `DependencyDown`.
    """
    admin = topics.TopicAdmin(config)
    described = admin.describe(names)
    missing = [name for name in names if name not in described]
    if missing:
        where = f"{', '.join(missing)} at {config.bootstrap_servers}"
        raise errors.KafkaRefused(f"there is no topic {where}; `allocation init` creates the topics")
    bounds = {
        key: marks._replace(begin=max(marks.begin, starts.get((key.topic, key.partition), 0)))
        for key, marks in admin.watermarks(admin.partitions(names)).items()
    }
    # The end shows when the broker has waited that long for more (default: 500 ms).
    settings = config.consumer(**{"enable.partition.eof": True, "fetch.wait.max.ms": 5})
    consumer = clients.opened(confluent_kafka.Consumer, settings)
    with contextlib.closing(consumer):
        consumer.assign([confluent_kafka.TopicPartition(*key, marks.begin) for key, marks in bounds.items()])
        yield OrderedLogs(
            consumer,
            topic_ids={name: description.topic_id for name, description in described.items()},
            bounds=bounds,
            servers=config.bootstrap_servers,
        )


def _by_time(record: messages.Record) -> tuple[int, str, int, int]:
    return (record.timestamp_ms, record.topic, record.partition, record.offset)
