"""Kafka as anyone sees it: a plain producer, and a plain reader of what is committed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import confluent_kafka
from confluent_kafka import admin

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tests.chaos.oracle import workload

_DEADLINE_S = 60.0
# How long the broker holds a fetch for which there is nothing: briefly where all is read, and longer than it holds a
# worker's (50 ms) where that is to be outwaited.
_HELD_MS = 20
_OUTWAITING_MS = 100
_EOF = -191  # librdkafka's _PARTITION_EOF


class Record(NamedTuple):
    """A record, its topic without the prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    def header(self, name: str) -> bytes | None:
        """Return a header's value, None without one."""
        return dict(self.headers).get(name)

    @property
    def at(self) -> tuple[str, int, int]:
        """Where it lies."""
        return (self.topic, self.partition, self.offset)


class Log:
    """All topics of one installation."""

    def __init__(self, servers: str, prefix: str) -> None:
        self._servers = servers
        self._prefix = prefix
        # A plain producer loses nothing that was acknowledged, and may write twice: that is a duplicate like any other.
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": servers,
                "acks": "all",
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 2,
                "message.timeout.ms": int(_DEADLINE_S * 1000),
            }
        )

    def send(self, drafts: Iterable[workload.Draft]) -> int:
        """Write messages and return, once Kafka has acknowledged all of them, how many."""
        failures: list[Any] = []

        def report(error: Any, _message: Any) -> None:
            if error is not None:
                failures.append(error)

        count = 0
        for draft in drafts:
            topic, headers = self._prefix + draft.topic, list[Any](draft.headers)
            self._producer.produce(topic, draft.value, draft.key, headers=headers, on_delivery=report)
            count += 1
        left = self._producer.flush(_DEADLINE_S)
        assert (left, failures) == (0, [])
        return count

    def read(self, topics: Collection[str]) -> list[Record]:
        """Return everything committed in these topics, in the order of each partition."""
        return self._read(topics, start=confluent_kafka.OFFSET_BEGINNING, held_ms=_HELD_MS)

    def outwait_fetches(self, topics: Collection[str]) -> None:
        """Return once the broker has answered every fetch of a worker's that began before; fails if anything was sent.

        A fetch that waits at the broker is answered with what is sent next, also for a worker that is halted.
        """
        came = self._read(topics, start=confluent_kafka.OFFSET_END, held_ms=_OUTWAITING_MS)
        assert came == [], "what was sent meanwhile has answered fetches"

    def ends(self, topics: Collection[str], *, committed: bool = True) -> dict[tuple[str, int], int]:
        """Return the ends of all partitions of these topics, behind open transactions if not `committed`."""
        isolation = "read_committed" if committed else "read_uncommitted"
        settings: dict[str, Any] = {
            "bootstrap.servers": self._servers,
            "group.id": "oracle",
            "isolation.level": isolation,
        }
        consumer = confluent_kafka.Consumer(settings)
        try:
            return {
                (topic, partition): consumer.get_watermark_offsets(
                    confluent_kafka.TopicPartition(self._prefix + topic, partition), _DEADLINE_S
                )[1]
                for topic, partition in self._partitions(consumer, topics)
            }
        finally:
            consumer.close()

    def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """Return the ids that Kafka gave these topics, as Java's tools print them."""
        client = admin.AdminClient({"bootstrap.servers": self._servers})
        asked = client.describe_topics(confluent_kafka.TopicCollection([self._prefix + topic for topic in topics]))
        return {
            name.removeprefix(self._prefix): str(found.result().topic_id).replace("+", "-").replace("/", "_")
            for name, found in asked.items()
        }

    def _partitions(self, consumer: confluent_kafka.Consumer, topics: Collection[str]) -> list[tuple[str, int]]:
        known: Any = consumer.list_topics(timeout=_DEADLINE_S).topics
        return [(topic, number) for topic in topics for number in known[self._prefix + topic].partitions]

    def _read(self, topics: Collection[str], *, start: int, held_ms: int) -> list[Record]:
        settings: dict[str, Any] = {
            "bootstrap.servers": self._servers,
            "group.id": "oracle",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": held_ms,
        }
        consumer = confluent_kafka.Consumer(settings)
        try:
            return self._read_to_ends(consumer, topics, start)
        finally:
            consumer.close()

    def _read_to_ends(self, consumer: confluent_kafka.Consumer, topics: Collection[str], start: int) -> list[Record]:
        partitions = self._partitions(consumer, topics)
        consumer.assign([confluent_kafka.TopicPartition(self._prefix + topic, n, start) for topic, n in partitions])
        records, open_ends = [], set(partitions)
        deadline = time.monotonic() + _DEADLINE_S
        while open_ends:
            assert time.monotonic() < deadline, f"no end in sight of {sorted(open_ends)}"
            for message in consumer.consume(1000, 0.1):
                record = self._record(message)
                error = message.error()
                if error is None:
                    records.append(record)
                elif error.code() == _EOF:
                    open_ends.discard((record.topic, record.partition))
                else:
                    raise confluent_kafka.KafkaException(error)
        return records

    def _record(self, message: Any) -> Record:
        topic = message.topic().removeprefix(self._prefix)
        headers = tuple(message.headers() or ())
        return Record(topic, message.partition(), message.offset(), message.key(), message.value(), headers)
