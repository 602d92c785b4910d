"""Events as another team's program reads them: Confluent's own consumer, deserializer and registry client."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import TYPE_CHECKING, Any

from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE_S = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One decoded message."""

    topic: str
    key: str
    fields: dict[str, Any]
    headers: dict[str, str]


class Reader:
    """What has arrived so far, and what is still to come."""

    def __init__(self, consumer: Consumer, deserialize: AvroDeserializer) -> None:
        self._consumer = consumer
        self._deserialize = deserialize
        self._seen: list[Event] = []

    def wait_for(self, topic: str, **fields: str | int) -> Event:
        """Return the first event with these fields, whether it was read before or not."""

        def is_wanted(event: Event) -> bool:
            return event.topic == topic and fields.items() <= event.fields.items()

        return self._first(is_wanted, time.monotonic() + DEADLINE_S)

    def _first(self, is_wanted: Callable[[Event], bool], end: float) -> Event:
        for event in self._seen:
            if is_wanted(event):
                return event
        while not is_wanted(event := self._next(end)):
            pass
        return event

    def _next(self, end: float) -> Event:
        message = self._consumer.poll(max(0.0, end - time.monotonic()))
        assert message is not None, f"No such event; seen: {self._seen}"
        assert message.error() is None, message.error()
        self._seen.append(self._decoded(message))
        return self._seen[-1]

    def _decoded(self, message: Message) -> Event:
        topic, key = message.topic(), message.key()
        assert topic is not None
        assert isinstance(key, bytes)
        fields = self._deserialize(message.value(), SerializationContext(topic, MessageField.VALUE))
        assert isinstance(fields, dict)
        headers = dict(message.headers() or ()).items()
        return Event(
            topic=topic,
            key=key.decode(),
            fields=fields,
            headers={name: value.decode() for name, value in headers if isinstance(value, bytes)},
        )


@contextlib.contextmanager
def reading(*topics: str, bootstrap_servers: str, registry_url: str) -> Iterator[Reader]:
    """Read everything that is written to the topics from now on."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "an-outside-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    with contextlib.closing(consumer), contextlib.closing(SchemaRegistryClient({"url": registry_url})) as registry:
        consumer.assign([_end(consumer, partition) for partition in _partitions(consumer, topics)])
        yield Reader(consumer, AvroDeserializer(registry))


def _partitions(consumer: Consumer, topics: tuple[str, ...]) -> list[TopicPartition]:
    known = consumer.list_topics(timeout=DEADLINE_S).topics
    return [TopicPartition(topic, partition) for topic in topics for partition in known[topic].partitions]


def _end(consumer: Consumer, partition: TopicPartition) -> TopicPartition:
    """Look up the end now: the special offset for it would be looked up later, past what is waited for."""
    _, end = consumer.get_watermark_offsets(partition, timeout=DEADLINE_S)
    return TopicPartition(partition.topic, partition.partition, end)
