"""The committed records of one topic of events, read from positions that are ours.

No group: one bridge works at a time, so all partitions are its own, and no offset of a group can
expire and send it back to the beginning.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import confluent_kafka

from allocation.adapters.kafka import headers, patience
from allocation.adapters.kafka import topics as kafka_topics
from allocation.service_layer import messages, ports
from allocation.service_layer.bridging import ports as bridging

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from allocation.adapters.kafka import clients

_NO_EPOCH = -1


class EventLog:
    """Implements `bridging.ports.EventLog`."""

    def __init__(
        self,
        consumer: confluent_kafka.Consumer,
        *,
        admin: kafka_topics.TopicAdmin,
        topic: str,
        description: kafka_topics.TopicDescription,
    ) -> None:
        self._consumer = consumer
        self._admin = admin
        self._topic = topic
        self._description = description
        self._expected: dict[int, int] = {}

    @property
    def topic_id(self) -> str:
        """The id of the topic that was opened."""
        return self._description.topic_id

    def bounds(self) -> Mapping[int, bridging.Bounds]:
        """Return where each partition begins and ends."""
        partitions = [
            kafka_topics.TopicPartition(self._topic, number) for number in range(self._description.partitions)
        ]
        with patience.pausing():
            marks = self._admin.watermarks(partitions)
        return {partition.partition: bridging.Bounds(begin, end) for partition, (begin, end) in marks.items()}

    def start(self, offsets: Mapping[int, int]) -> None:
        """Read on from these offsets."""
        self._expected = dict(offsets)
        self._consumer.assign(
            [confluent_kafka.TopicPartition(self._topic, number, offset) for number, offset in offsets.items()]
        )

    def take(self, *, limit: int, timeout_s: float) -> Sequence[messages.Record]:
        """Wait for a record, and return it with what else has arrived."""
        first = self._consumer.poll(timeout_s)
        fetched = [] if first is None else [first, *self._consumer.consume(limit - 1, 0)]
        return [self._record(message) for message in fetched]

    def has_changed(self) -> bool:
        """Tell whether the topic has got partitions, or was made anew."""
        return _describe(self._admin, self._topic) != self._description

    def _record(self, message: confluent_kafka.Message) -> messages.Record:
        partition, offset, error = message.partition() or 0, message.offset() or 0, message.error()
        if error is not None:
            msg = f"cannot read {self._topic}/{partition}: {error.str()} ({error.name()})"
            raise ports.DependencyDown(msg)
        if offset < self._expected[partition]:
            msg = f"{self._topic}/{partition} went back to offset {offset}: it may have been made anew"
            raise ports.DependencyDown(msg)
        self._expected[partition] = offset + 1
        epoch = message.leader_epoch()
        return messages.Record(
            topic=self._topic,
            topic_id=self.topic_id,
            partition=partition,
            offset=offset,
            leader_epoch=_NO_EPOCH if epoch is None else epoch,
            key=message.key(),
            value=message.value(),
            headers=headers.read(message),
            timestamp_ms=message.timestamp()[1],
        )


@contextlib.contextmanager
def open_log(config: clients.ClientConfig, *, admin: kafka_topics.TopicAdmin, topic: str) -> Iterator[EventLog]:
    """Open a topic; reading has to be started then. Raises `DependencyDown`, also while there is no such topic."""
    description = _describe(admin, topic)
    consumer = confluent_kafka.Consumer(config.consumer())
    try:
        yield EventLog(consumer, admin=admin, topic=topic, description=description)
    finally:
        consumer.close()


def _describe(admin: kafka_topics.TopicAdmin, topic: str) -> kafka_topics.TopicDescription:
    with patience.pausing():
        found = admin.describe([topic])
    if topic not in found:
        msg = f"there is no topic {topic}; `allocation init` creates the topics"
        raise ports.DependencyDown(msg)
    return found[topic]
