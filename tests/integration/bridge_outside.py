"""The bridge as its neighbours see it: plain Redis and Kafka clients."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import confluent_kafka
import redis
from confluent_kafka import schema_registry, serialization
from confluent_kafka.schema_registry import avro

from allocation.entrypoints import bridge
from allocation.service_layer import topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from allocation import config

PATIENCE_S = 60.0
_LOOK_AGAIN_S = 0.02


def eventually(condition: Callable[[], bool], *, within_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + within_s
    never = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        never.wait(_LOOK_AGAIN_S)


class Programs:
    """A program written against the old service: publishes commands, listens to allocations."""

    def __init__(self, settings: config.Settings) -> None:
        self._names = topics.TopicNames(settings.topic_prefix)
        client: Any = redis.Redis.from_url(settings.redis_url)
        self.client = client
        self._allocations = client.pubsub(ignore_subscribe_messages=True)
        self._allocations.subscribe(self._names.line_allocated)
        self._allocations.get_message(timeout=PATIENCE_S)  # the confirmation

    def close(self) -> None:
        self._allocations.close()
        self.client.close()

    def publish(self, channel: str, message: object) -> None:
        payload = message if isinstance(message, bytes) else json.dumps(message)
        self.client.publish(f"{self._names.prefix}{channel}", payload)

    def subscribers(self, channel: str) -> int:
        """Return how many bridges listen to a channel."""
        return int(self.client.pubsub_numsub(f"{self._names.prefix}{channel}")[0][1])

    def wait_for_bridge(self) -> None:
        eventually(lambda: self.subscribers("allocate") == 1)

    def next_allocation(self, *, within_s: float = PATIENCE_S) -> Any:
        deadline = time.monotonic() + within_s
        while (left_s := deadline - time.monotonic()) > 0:
            message = self._allocations.get_message(timeout=left_s)
            if message is not None:
                return json.loads(message["data"])
        msg = "nothing was published in time"
        raise AssertionError(msg)

    def hears_nothing_more(self, *, for_s: float = 0.5) -> bool:
        return self._allocations.get_message(timeout=for_s) is None


@contextlib.contextmanager
def programs(settings: config.Settings) -> Iterator[Programs]:
    with contextlib.closing(Programs(settings)) as them:
        yield them


@contextlib.contextmanager
def a_bridge(settings: config.Settings) -> Iterator[None]:
    """Run a bridge in a thread; when the block is left it must stop."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        try:
            bridge.serve(settings, stop)
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert failures == []


class Announcer:
    """Someone who writes events to their topics in transactions, as the relay does."""

    def __init__(self, settings: config.Settings) -> None:
        self._names = topics.TopicNames(settings.topic_prefix)
        self._registry = schema_registry.SchemaRegistryClient({"url": settings.schema_registry_url})
        self._serializers: dict[str, Any] = {}
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": settings.kafka_bootstrap_servers, "transactional.id": str(uuid.uuid4())}
        )
        self._producer.init_transactions(PATIENCE_S)

    def close(self) -> None:
        self._registry.close()

    def announce(
        self, *events: Mapping[str, Any], commit: bool = True, headers: Mapping[str, bytes] | None = None
    ) -> None:
        """Write events in one transaction; one without `batchref` is that a line found no room."""
        self._producer.begin_transaction()
        for event in events:
            topic = self._names.line_allocated if "batchref" in event else self._names.out_of_stock
            sent: Any = {"ce_id": str(uuid.uuid4()).encode(), **(headers or {})}
            self._producer.produce(topic, self._serialize(topic, event), event["sku"], headers=sent)
        self._producer.flush()
        if commit:
            self._producer.commit_transaction(PATIENCE_S)
        else:
            self._producer.abort_transaction(PATIENCE_S)

    def write(self, value: bytes | None) -> None:
        """Write bytes of any kind to the topic of allocations."""
        self._producer.begin_transaction()
        self._producer.produce(self._names.line_allocated, value, "LAMP")
        self._producer.commit_transaction(PATIENCE_S)

    def _serialize(self, topic: str, event: Mapping[str, Any]) -> bytes:
        if topic not in self._serializers:
            schema = self._registry.get_latest_version(f"{topic}-value").schema
            self._serializers[topic] = avro.AvroSerializer(
                self._registry, schema, conf={"auto.register.schemas": False, "use.latest.version": True}
            )
        context = serialization.SerializationContext(topic, serialization.MessageField.VALUE)
        return self._serializers[topic](event, context)  # type: ignore[no-any-return]


@contextlib.contextmanager
def announcing(settings: config.Settings) -> Iterator[Announcer]:
    with contextlib.closing(Announcer(settings)) as announcer:
        yield announcer


class Watcher:
    """Reads committed records of topics from their beginnings, in the order of each partition."""

    def __init__(self, settings: config.Settings, *names: str) -> None:
        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap_servers,
                "group.id": str(uuid.uuid4()),
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
            }
        )
        self._registry = schema_registry.SchemaRegistryClient({"url": settings.schema_registry_url})
        self._deserializer: Any = avro.AvroDeserializer(self._registry)
        self._consumer.assign(
            [
                confluent_kafka.TopicPartition(
                    f"{settings.topic_prefix}{name}", partition, confluent_kafka.OFFSET_BEGINNING
                )
                for name in names
                for partition in range(settings.partitions)
            ]
        )

    def close(self) -> None:
        self._consumer.close()
        self._registry.close()

    def next(self, count: int, *, within_s: float = PATIENCE_S) -> Sequence[confluent_kafka.Message]:
        """Wait for that many records."""
        found: list[confluent_kafka.Message] = []
        deadline = time.monotonic() + within_s
        while len(found) < count:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{len(found)} of {count} records came in time"
            found += [message for message in self._consumer.consume(count - len(found), left_s) if not message.error()]
        return found

    def sees_nothing_more(self, *, for_s: float = 0.5) -> bool:
        return not self._consumer.consume(1, for_s)

    def decode(self, message: confluent_kafka.Message) -> Any:
        context = serialization.SerializationContext(message.topic() or "", serialization.MessageField.VALUE)
        return self._deserializer(message.value(), context)


@contextlib.contextmanager
def watching(settings: config.Settings, *names: str) -> Iterator[Watcher]:
    with contextlib.closing(Watcher(settings, *names)) as watcher:
        yield watcher


def headers(message: confluent_kafka.Message) -> dict[str, bytes]:
    found: Any = message.headers()
    return dict(found or ())
