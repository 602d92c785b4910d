"""Ordinary clients of others send us commands and read our events, knowing nothing of our code."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest
from cloudevents.core.bindings import kafka as cloudevents_kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from confluent_kafka import schema_registry, serialization
from confluent_kafka.schema_registry import avro as confluent_avro

from allocation.adapters.avro import registry, schemas, serde
from allocation.adapters.kafka import producer, topic_specs, topics
from allocation.domain import commands
from allocation.service_layer import envelopes, external_events, messages, reading
from allocation.service_layer import topics as topic_names
from tests import avro_values, kafka_logs, murmur2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack

PARTITIONS = 6
NOON = dt.datetime(2030, 1, 2, 12, 0, tzinfo=dt.UTC)
SHIPPED = commands.CreateBatch("batch-1", "SMALL-TABLE", 20, dt.date(2030, 5, 6))
IN_WAREHOUSE = commands.CreateBatch("batch-2", "SMALL-TABLE", 20, None)
LINE = commands.Allocate("order-1", "SMALL-TABLE", 3)
CHANGE = commands.ChangeBatchQuantity("batch-1", 0, None)
CHANGE_WITH_SKU = commands.ChangeBatchQuantity("batch-1", 0, "SMALL-TABLE")


@pytest.fixture
def names(endpoints: devstack.Endpoints) -> topic_names.TopicNames:
    """Topics of a new installation."""
    new = topic_names.TopicNames(f"{kafka_logs.a_name()}.")
    topics.TopicAdmin(kafka_logs.a_config(endpoints)).create(topic_specs.topic_specs(new, partitions=PARTITIONS))
    return new


@pytest.fixture
def ours(endpoints: devstack.Endpoints, names: topic_names.TopicNames) -> Iterator[serde.AvroSerde]:
    """Our serde, with its schemas registered."""
    with registry.Registry(endpoints.schema_registry_url) as client:
        definitions = schemas.load()
        ids = {
            name: client.register(subject=schemas.subject(topic), definition=definitions[name])
            for name, topic in (names.commands | names.events).items()
        }
        yield serde.AvroSerde(ids=ids, lookup=client.definition)


@pytest.fixture
def their_registry(endpoints: devstack.Endpoints) -> Iterator[schema_registry.SchemaRegistryClient]:
    with schema_registry.SchemaRegistryClient({"url": endpoints.schema_registry_url}) as client:
        yield client


def send_as_they_do(
    endpoints: devstack.Endpoints,
    their_registry: schema_registry.SchemaRegistryClient,
    topic: str,
    schema: str,
    *sent: dict[str, Any],
) -> None:
    """Send with Confluent's serializer and nothing set but addresses and the schema."""
    serialize = confluent_avro.AvroSerializer(their_registry, schema)
    theirs = confluent_kafka.Producer({"bootstrap.servers": endpoints.kafka_bootstrap_servers})
    for fields in sent:
        context = serialization.SerializationContext(topic, serialization.MessageField.VALUE)
        theirs.produce(topic, key=str(fields.get("sku")), value=serialize(fields, context))
    assert theirs.flush(10) == 0


def poll_as_they_do(endpoints: devstack.Endpoints, topic: str) -> confluent_kafka.Message:
    """Return the first message of a topic, with Confluent's consumer and an ordinary group."""
    theirs = confluent_kafka.Consumer(
        {
            "bootstrap.servers": endpoints.kafka_bootstrap_servers,
            "group.id": kafka_logs.a_name(),
            "auto.offset.reset": "earliest",
        }
    )
    with theirs:
        theirs.subscribe([topic])
        message = theirs.poll(20)
    assert message is not None
    assert message.error() is None
    return message


def publish(
    endpoints: devstack.Endpoints, names: topic_names.TopicNames, ours: serde.AvroSerde
) -> messages.OutboxMessage:
    """Publish an event as the relay would."""
    wrap = envelopes.Envelopes(topics=names, serializer=ours)
    cause = envelopes.Cause(
        message=messages.Message(
            record=messages.Record(names.allocate, "topic-id", 0, 7, 0, None, None, (), 0),
            id=messages.MessageId("shop", "command-1"),
            attempt=1,
            digest=b"",
            command=LINE,
        ),
        time=NOON,
    )
    event = external_events.LineAllocated("order-1", "SMALL-TABLE", 3, "batch-1")
    message = wrap.event(event, cause=cause, ordinal=0, sequence=42)
    with producer.Producer(kafka_logs.a_config(endpoints)) as sender:
        sender.send(message)
    return message


@pytest.mark.parametrize("command", [SHIPPED, IN_WAREHOUSE, LINE, CHANGE, CHANGE_WITH_SKU])
def test_a_command_from_an_ordinary_avro_producer_is_read(
    endpoints: devstack.Endpoints,
    names: topic_names.TopicNames,
    ours: serde.AvroSerde,
    their_registry: schema_registry.SchemaRegistryClient,
    command: commands.Command,
) -> None:
    name = type(command).__name__
    topic = names.commands[name]
    send_as_they_do(endpoints, their_registry, topic, schemas.load()[name], envelopes.command_fields(command))

    (record,) = kafka_logs.records(endpoints, topic)
    message = reading.MessageReader(topics=names, deserializer=ours).read(record)
    assert message.command == command
    assert message.id == ("kafka", f"{record.topic_id}/{record.partition}/{record.offset}")


def test_a_producer_with_a_schema_of_its_own_is_understood(
    endpoints: devstack.Endpoints,
    names: topic_names.TopicNames,
    ours: serde.AvroSerde,
    their_registry: schema_registry.SchemaRegistryClient,
) -> None:
    schema = json.loads(schemas.load()["Allocate"])
    schema["fields"].insert(0, {"name": "channel", "type": "string", "default": ""})
    fields = {**envelopes.command_fields(LINE), "channel": "web"}
    send_as_they_do(endpoints, their_registry, names.allocate, json.dumps(schema), fields)

    (record,) = kafka_logs.records(endpoints, names.allocate)
    assert reading.MessageReader(topics=names, deserializer=ours).read(record).command == LINE


def test_a_json_message_in_a_command_topic_is_told_from_a_command(
    endpoints: devstack.Endpoints, names: topic_names.TopicNames, ours: serde.AvroSerde
) -> None:
    theirs = confluent_kafka.Producer({"bootstrap.servers": endpoints.kafka_bootstrap_servers})
    theirs.produce(names.allocate, value=json.dumps(envelopes.command_fields(LINE)))
    assert theirs.flush(10) == 0

    (record,) = kafka_logs.records(endpoints, names.allocate)
    command = reading.MessageReader(topics=names, deserializer=ours).read(record).command
    assert isinstance(command, messages.Unreadable)
    assert command.reason == "undecodable"


def test_an_event_is_read_by_an_ordinary_avro_consumer(
    endpoints: devstack.Endpoints,
    names: topic_names.TopicNames,
    ours: serde.AvroSerde,
    their_registry: schema_registry.SchemaRegistryClient,
) -> None:
    publish(endpoints, names, ours)
    deserialize = confluent_avro.AvroDeserializer(their_registry)
    message = poll_as_they_do(endpoints, names.line_allocated)
    context = serialization.SerializationContext(names.line_allocated, serialization.MessageField.VALUE)
    assert deserialize(message.value(), context) == {
        "orderid": "order-1",
        "sku": "SMALL-TABLE",
        "qty": 3,
        "batchref": "batch-1",
    }


@pytest.mark.parametrize("name", avro_values.SAMPLES)
def test_all_that_we_write_is_read_by_confluents_deserializer(
    names: topic_names.TopicNames,
    ours: serde.AvroSerde,
    their_registry: schema_registry.SchemaRegistryClient,
    name: str,
) -> None:
    topic = (names.commands | names.events)[name]
    deserialize = confluent_avro.AvroDeserializer(their_registry, schemas.load()[name])
    context = serialization.SerializationContext(topic, serialization.MessageField.VALUE)
    assert deserialize(ours.serialize(name, avro_values.SAMPLES[name]), context) == avro_values.SAMPLES[name]


def test_an_ordinary_consumer_sees_key_and_headers_as_text(
    endpoints: devstack.Endpoints, names: topic_names.TopicNames, ours: serde.AvroSerde
) -> None:
    published = publish(endpoints, names, ours)
    message = poll_as_they_do(endpoints, names.line_allocated)
    assert message.key() == b"SMALL-TABLE"
    assert message.partition() == murmur2.partition(b"SMALL-TABLE", PARTITIONS)
    headers = dict(message.headers() or ())
    assert tuple(headers.items()) == published.headers
    assert headers["ce_type"] == b"allocation.LineAllocated"
    assert headers["ce_time"] == b"2030-01-02T12:00:00.000Z"
    assert headers["ce_causationid"] == b"command-1"
    assert headers["ce_sequence"] == b"42"


def test_an_event_is_a_cloud_event(
    endpoints: devstack.Endpoints, names: topic_names.TopicNames, ours: serde.AvroSerde
) -> None:
    publish(endpoints, names, ours)
    message = poll_as_they_do(endpoints, names.line_allocated)
    headers: dict[str, Any] = dict(message.headers() or ())
    event = cloudevents_kafka.from_binary(
        cloudevents_kafka.KafkaMessage(headers=headers, key=message.key(), value=message.value() or b""), JSONFormat()
    )
    assert (event.get_type(), event.get_source(), event.get_specversion()) == (
        "allocation.LineAllocated",
        "allocation",
        "1.0",
    )
    assert event.get_id() == headers["ce_id"].decode()
    assert event.get_time() == NOON
    assert event.get_extension("causationid") == "command-1"
    assert event.get_extension("sequence") == "42"
    assert event.get_extension("partitionkey") == "SMALL-TABLE"


def test_a_command_that_a_cloud_events_library_wrapped_keeps_its_identity(
    endpoints: devstack.Endpoints, names: topic_names.TopicNames, ours: serde.AvroSerde
) -> None:
    event = CloudEvent(
        attributes={"type": "allocation.Allocate", "source": "/shop", "id": "A-1", "partitionkey": "SMALL-TABLE"},
        data=ours.serialize("Allocate", envelopes.command_fields(LINE)),
    )
    wrapped = cloudevents_kafka.to_binary(event, JSONFormat())
    theirs = confluent_kafka.Producer({"bootstrap.servers": endpoints.kafka_bootstrap_servers})
    theirs.produce(names.allocate, key=wrapped.key, value=wrapped.value, headers=list(wrapped.headers.items()))
    assert theirs.flush(10) == 0

    (record,) = kafka_logs.records(endpoints, names.allocate)
    message = reading.MessageReader(topics=names, deserializer=ours).read(record)
    assert (message.id, message.command) == (("/shop", "A-1"), LINE)


def test_kcat_shows_keys_and_headers(
    endpoints: devstack.Endpoints, names: topic_names.TopicNames, ours: serde.AvroSerde
) -> None:
    kcat = shutil.which("kcat") or shutil.which("kafkacat")
    if kcat is None:
        pytest.skip("needs kcat (Debian: apt-get install kcat)")
    publish(endpoints, names, ours)
    address = ("-b", endpoints.kafka_bootstrap_servers, "-t", names.line_allocated)
    shown = subprocess.run(
        [kcat, "-C", "-q", "-e", "-J", "-o", "beginning", *address],
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    message = json.loads(shown)
    assert message["key"] == "SMALL-TABLE"
    headers = dict(zip(message["headers"][::2], message["headers"][1::2], strict=True))
    assert headers["ce_type"] == "allocation.LineAllocated"
    assert headers["ce_causationid"] == "command-1"
    assert headers["ce_sequence"] == "42"
