"""Others drive the running service with ordinary Kafka and Avro clients, and send it all kinds of nonsense."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest
from confluent_kafka import schema_registry, serialization
from confluent_kafka.schema_registry import avro

from allocation import bootstrap
from allocation.adapters.avro import schemas
from tests.e2e import parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import config

BATCH = {"ref": "batch-1", "sku": "LAMP", "qty": 10, "eta": None}
LINE = {"orderid": "order-1", "sku": "LAMP", "qty": 3}


class Outsider:
    """Confluent's clients with addresses and nothing else set."""

    def __init__(self, settings: config.Settings) -> None:
        self.topics = bootstrap.topic_names(settings)
        self._servers = {"bootstrap.servers": settings.kafka_bootstrap_servers}
        self._registry = schema_registry.SchemaRegistryClient({"url": settings.schema_registry_url})
        self._producer = confluent_kafka.Producer(self._servers)

    def encoded(self, record_name: str, fields: dict[str, Any]) -> bytes:
        topic = self.topics.commands[record_name]
        context = serialization.SerializationContext(topic, serialization.MessageField.VALUE)
        encoded = avro.AvroSerializer(self._registry, schemas.load()[record_name])(fields, context)
        assert isinstance(encoded, bytes)
        return encoded

    def send(self, record_name: str, value: bytes | None, **headers: str) -> tuple[int, int]:
        """Send to the topic of a record and return partition and offset."""
        acknowledged: list[confluent_kafka.Message] = []
        self._producer.produce(
            self.topics.commands[record_name],
            key="LAMP",
            value=value,
            headers=list(headers.items()),
            on_delivery=lambda _error, message: acknowledged.append(message),
        )
        assert self._producer.flush(parts.DEADLINE_S) == 0
        (message,) = acknowledged
        assert message.error() is None
        return message.partition() or 0, message.offset() or 0

    def take(self, topic: str, count: int) -> list[confluent_kafka.Message]:
        """Wait for that many messages on a topic."""
        consumer = confluent_kafka.Consumer(
            {**self._servers, "group.id": f"{topic}-reader", "auto.offset.reset": "earliest"}
        )
        found: list[confluent_kafka.Message] = []
        deadline = time.monotonic() + parts.DEADLINE_S
        with consumer:
            consumer.subscribe([topic])
            while len(found) < count:
                assert time.monotonic() < deadline, f"{len(found)} of {count} messages on {topic}"
                found += [message for message in consumer.consume(count, 0.1) if message.error() is None]
        return found

    def decoded(self, message: confluent_kafka.Message) -> Any:
        context = serialization.SerializationContext(str(message.topic()), serialization.MessageField.VALUE)
        return avro.AvroDeserializer(self._registry)(message.value(), context)

    def close(self) -> None:
        self._registry.close()


@pytest.fixture
def outsider(initialised: config.Settings) -> Iterator[Outsider]:
    """An ordinary client of an installation whose worker and relay run."""
    with (
        parts.running("worker", initialised),
        parts.running("relay", initialised),
        contextlib.closing(Outsider(initialised)) as outsider,
    ):
        yield outsider


def headers_of(message: confluent_kafka.Message) -> dict[str, str]:
    headers: dict[str, Any] = dict(message.headers() or ())
    return {name: value.decode() for name, value in headers.items()}


def test_a_command_of_an_ordinary_producer_reaches_an_ordinary_consumer_as_an_event(outsider: Outsider) -> None:
    outsider.send("CreateBatch", outsider.encoded("CreateBatch", BATCH))
    outsider.send("Allocate", outsider.encoded("Allocate", LINE), ce_id="line-1", ce_source="/shop")

    (event,) = outsider.take(outsider.topics.line_allocated, 1)
    assert outsider.decoded(event) == {**LINE, "batchref": "batch-1"}
    assert event.key() == b"LAMP"
    headers = headers_of(event)
    assert headers["ce_type"] == "allocation.LineAllocated"
    assert headers["ce_causationid"] == "line-1"


def test_every_kind_of_nonsense_is_a_dead_letter_and_the_next_command_is_handled(outsider: Outsider) -> None:
    outsider.send("CreateBatch", outsider.encoded("CreateBatch", BATCH))
    nonsense: dict[str, tuple[str, bytes | None]] = {
        "json": ("undecodable", json.dumps(LINE).encode()),
        "empty": ("undecodable", b""),
        "truncated": ("undecodable", outsider.encoded("Allocate", LINE)[:-1]),
        "trailing": ("undecodable", outsider.encoded("Allocate", LINE) + b"!"),
        "unknown schema": ("unknown_schema", b"\0\x7f\xff\xff\xff\x02a"),
        "null": ("null_value", None),
        "another record": ("wrong_record", outsider.encoded("CreateBatch", BATCH)),
        "qty 0": ("invalid", outsider.encoded("Allocate", {**LINE, "qty": 0})),
        "qty -3": ("invalid", outsider.encoded("Allocate", {**LINE, "qty": -3})),
        "no sku": ("invalid", outsider.encoded("Allocate", {**LINE, "sku": ""})),
        "no such sku": ("invalid_sku", outsider.encoded("Allocate", {**LINE, "sku": "LAMPP"})),
    }
    places = {name: outsider.send("Allocate", value, note=name) for name, (_, value) in nonsense.items()}
    outsider.send("Allocate", outsider.encoded("Allocate", LINE))

    (event,) = outsider.take(outsider.topics.line_allocated, 1)
    assert outsider.decoded(event)["orderid"] == "order-1"
    letters = {
        headers_of(letter)["note"]: letter for letter in outsider.take(outsider.topics.dead_letter, len(nonsense))
    }
    assert letters.keys() == nonsense.keys()
    for name, (reason, value) in nonsense.items():
        headers = headers_of(letters[name])
        assert (name, headers["dead_letter_reason"]) == (name, reason)
        assert (letters[name].key(), letters[name].value()) == (b"LAMP", value)
        place = (int(headers["dead_letter_partition"]), int(headers["dead_letter_offset"]))
        assert (headers["dead_letter_topic"], place) == (outsider.topics.allocate, places[name])
        assert headers["dead_letter_error"]
        assert headers["dead_letter_attempt"] == "1"
