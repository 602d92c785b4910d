"""Old and new producers and consumers side by side: each version of each schema read with the other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from allocation.adapters.avro import compatibility, schemas, serde
from allocation.domain import commands
from allocation.service_layer import messages, reading, topics
from allocation.service_layer.operations.verify import events
from tests import avro_values, builders

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = topics.TopicNames()
OLD = schemas.load()
NEW_IDS = {name: schema_id + 100 for name, schema_id in avro_values.IDS.items()}
SAMPLES = avro_values.SAMPLES
NOTE = {"name": "note", "type": ["null", "string"], "default": None, "doc": "What the next version adds."}


def next_version(definition: str) -> str:
    """Return a schema with a field more, and with the others in another order."""
    record = json.loads(definition)
    return json.dumps(record | {"fields": [NOTE, *reversed(record["fields"])]})


NEW = {name: next_version(definition) for name, definition in OLD.items()}


@pytest.fixture
def old() -> serde.AvroSerde:
    """What the released version reads and writes with."""
    return a_serde(avro_values.IDS)


@pytest.fixture
def new(monkeypatch: pytest.MonkeyPatch) -> serde.AvroSerde:
    """What the next version will read and write with."""
    with monkeypatch.context() as patch:
        patch.setattr(schemas, "load", lambda: NEW)
        return a_serde(NEW_IDS)


def a_serde(ids: Mapping[str, int]) -> serde.AvroSerde:
    registry = avro_values.FakeRegistry()
    for versions, numbers in ((OLD, avro_values.IDS), (NEW, NEW_IDS)):
        registry.definitions |= {numbers[name]: definition for name, definition in versions.items()}
    return avro_values.a_serde(registry, ids=ids)


@pytest.mark.parametrize("name", OLD)
def test_the_next_version_keeps_the_contract(name: str) -> None:
    assert compatibility.obstacles(reader=NEW[name], writer=OLD[name]) == ()
    assert compatibility.obstacles(reader=OLD[name], writer=NEW[name]) == ()


@pytest.mark.parametrize("name", OLD)
def test_a_new_consumer_reads_what_an_old_producer_wrote(old: serde.AvroSerde, new: serde.AvroSerde, name: str) -> None:
    assert new.deserialize(name, old.serialize(name, SAMPLES[name])) == {**SAMPLES[name], "note": None}


@pytest.mark.parametrize("name", OLD)
def test_an_old_consumer_reads_what_a_new_producer_wrote(old: serde.AvroSerde, new: serde.AvroSerde, name: str) -> None:
    written = new.serialize(name, {**SAMPLES[name], "note": "hello"})
    assert old.deserialize(name, written) == SAMPLES[name]
    assert new.deserialize(name, written) == {**SAMPLES[name], "note": "hello"}


@pytest.mark.parametrize("name", NAMES.commands)
def test_a_worker_of_either_version_makes_the_same_command_of_either(
    old: serde.AvroSerde, new: serde.AvroSerde, name: str
) -> None:
    values = [old.serialize(name, SAMPLES[name]), new.serialize(name, {**SAMPLES[name], "note": "hello"})]
    found = {read(worker, NAMES.commands[name], value).command for worker in (old, new) for value in values}
    assert len(found) == 1
    assert isinstance(found.pop(), commands.CreateBatch | commands.Allocate | commands.ChangeBatchQuantity)


@pytest.mark.parametrize("name", NAMES.events)
def test_verify_of_either_version_reads_the_events_of_either(
    old: serde.AvroSerde, new: serde.AvroSerde, name: str
) -> None:
    values = [old.serialize(name, SAMPLES[name]), new.serialize(name, {**SAMPLES[name], "note": "hello"})]
    headers = {messages.CE_ID: b"e1", messages.CE_SEQUENCE: b"1", messages.CE_CAUSATIONID: b"c1"}
    found = {
        events.EventReader(topics=NAMES, deserializer=reader).read(
            NAMES.events[name], b"LAMP", value, headers, place="0/0"
        )
        for reader in (old, new)
        for value in values
    }
    assert len(found) == 1


def read(deserializer: serde.AvroSerde, topic: str, value: bytes) -> messages.Message:
    reader = reading.MessageReader(topics=NAMES, deserializer=deserializer)
    return reader.read(builders.a_record(value, topic=topic))
