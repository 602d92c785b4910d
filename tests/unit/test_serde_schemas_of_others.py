"""Values in schemas of others: which are resolved to ours, which are refused, when the registry is asked."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from allocation.adapters.avro import serde
from allocation.service_layer import ports
from tests import avro_values


def refusal_of(
    value: bytes, *, record_name: str = "Allocate", registry: avro_values.FakeRegistry | None = None
) -> tuple[str, str]:
    with pytest.raises(ports.UnreadableValue) as caught:
        avro_values.a_serde(registry).deserialize(record_name, value)
    return caught.value.reason, str(caught.value)


def test_an_id_that_the_registry_does_not_have_is_an_unknown_schema() -> None:
    assert refusal_of(b"\0\0\0\x10\0\x02o") == (
        "unknown_schema",
        "the registry knows no schema with id 4096, which the value names",
    )


def test_an_id_that_no_registry_gives_is_not_asked_for() -> None:
    registry = avro_values.FakeRegistry()
    reason, error = refusal_of(b"\0\xff\xff\xff\xff\x02o", registry=registry)
    assert (reason, registry.asked) == ("unknown_schema", [])
    assert "4294967295" in error


def test_an_unknown_id_is_asked_for_again_after_a_while_only() -> None:
    registry, clock = avro_values.FakeRegistry(), avro_values.FakeClock()
    avro = avro_values.a_serde(registry, clock)
    value = avro_values.a_value(avro_values.a_record(*avro_values.LINE), avro_values.ALLOCATE)
    definition = registry.definitions.pop(avro_values.OTHERS_ID, json.dumps(avro_values.a_record(*avro_values.LINE)))
    for _ in range(3):
        with pytest.raises(ports.UnreadableValue):
            avro.deserialize("Allocate", value)
    assert registry.asked == [avro_values.OTHERS_ID]
    registry.definitions[avro_values.OTHERS_ID] = definition
    clock.now += serde.UNKNOWN_ID_TTL_S
    assert avro.deserialize("Allocate", value) == avro_values.ALLOCATE


def test_a_registry_that_does_not_answer_is_asked_again_for_the_same_id() -> None:
    registry = avro_values.FakeRegistry(avro_values.a_record(*avro_values.LINE))
    registry.is_down = True
    avro = avro_values.a_serde(registry)
    value = avro_values.a_value(avro_values.a_record(*avro_values.LINE), avro_values.ALLOCATE)
    with pytest.raises(ports.DependencyDown):
        avro.deserialize("Allocate", value)
    registry.is_down = False
    assert avro.deserialize("Allocate", value) == avro_values.ALLOCATE


def test_a_schema_of_others_is_asked_for_once() -> None:
    registry = avro_values.FakeRegistry(avro_values.a_record(("note", "string"), *avro_values.LINE))
    avro = avro_values.a_serde(registry)
    value = avro_values.a_value(
        avro_values.a_record(("note", "string"), *avro_values.LINE), {**avro_values.ALLOCATE, "note": "hello"}
    )
    for _ in range(3):
        avro.deserialize("Allocate", value)
    assert registry.asked == [avro_values.OTHERS_ID]


@pytest.mark.parametrize(
    "schema",
    [
        avro_values.a_record(*avro_values.LINE),
        avro_values.a_record(*avro_values.LINE, namespace="com.example.shop"),
        avro_values.a_record(*avro_values.LINE, doc="as somebody else describes it"),
        avro_values.a_record(("qty", "int"), ("sku", "string"), ("orderid", "string")),
        avro_values.a_record(*avro_values.LINE, ("colour", "string"), ("tags", {"type": "array", "items": "string"})),
        avro_values.a_record(("orderid", {"type": "string", "avro.java.string": "String"}), *avro_values.LINE[1:]),
        avro_values.a_record(("orderid", ["null", "string"]), *avro_values.LINE[1:]),
        avro_values.a_record(("orderid", "bytes"), *avro_values.LINE[1:]),
        avro_values.a_record(*avro_values.LINE, ("when", {"type": "long", "logicalType": "timestamp-millis"})),
    ],
    ids=[
        "same",
        "namespace",
        "doc",
        "order",
        "more fields",
        "java",
        "nullable",
        "bytes",
        "logical type that is skipped",
    ],
)
def test_other_schemas_of_the_record_are_resolved_to_ours(schema: dict[str, Any]) -> None:
    written = {
        **avro_values.ALLOCATE,
        "colour": "red",
        "tags": ["a", "b"],
        "when": dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
    }
    if schema["fields"][0]["type"] == "bytes":
        written["orderid"] = b"o-1"
    value = avro_values.a_value(schema, {field["name"]: written[field["name"]] for field in schema["fields"]})
    assert avro_values.a_serde(avro_values.FakeRegistry(schema)).deserialize("Allocate", value) == avro_values.ALLOCATE


def test_a_field_that_an_older_schema_lacks_gets_its_default() -> None:
    schema = avro_values.a_record(("batchref", "string"), ("qty", "int"), name="ChangeBatchQuantity")
    value = avro_values.a_value(schema, {"batchref": "b", "qty": 3})
    fields = avro_values.a_serde(avro_values.FakeRegistry(schema)).deserialize("ChangeBatchQuantity", value)
    assert fields == {"batchref": "b", "qty": 3, "sku": None}


def test_another_of_our_own_records_is_the_wrong_one() -> None:
    value = avro_values.a_serde().serialize("LineAllocated", avro_values.SAMPLES["LineAllocated"])
    assert refusal_of(value) == (
        "wrong_record",
        "schema 14 describes the record LineAllocated; here Allocate is expected",
    )


@pytest.mark.parametrize(
    ("schema", "fields", "told"),
    [
        (avro_values.a_record(*avro_values.LINE, name="Order"), avro_values.ALLOCATE, "record Order"),
        (avro_values.a_record(*avro_values.LINE[:2]), avro_values.ALLOCATE, "qty"),
        (
            avro_values.a_record(*avro_values.LINE[:2], ("qty", "string")),
            {**avro_values.ALLOCATE, "qty": "3"},
            "string is not int",
        ),
        (avro_values.a_record(*avro_values.LINE[:2], ("qty", "long")), avro_values.ALLOCATE, "long is not int"),
        (
            avro_values.a_record(*avro_values.LINE[:2], ("qty", ["null", "int"])),
            {**avro_values.ALLOCATE, "qty": None},
            "not found in int",
        ),
        (
            avro_values.a_record(*avro_values.LINE[:2], ("qty", {"type": "int", "logicalType": "date"})),
            {**avro_values.ALLOCATE, "qty": dt.date(2030, 1, 1)},
            "Allocate.qty the type date; ours has int",
        ),
    ],
    ids=["name", "missing field", "type", "long", "null", "logical type"],
)
def test_a_schema_that_does_not_resolve_to_ours_is_the_wrong_record(
    schema: dict[str, Any], fields: dict[str, Any], told: str
) -> None:
    reason, error = refusal_of(avro_values.a_value(schema, fields), registry=avro_values.FakeRegistry(schema))
    assert reason == "wrong_record"
    assert told in error


def test_days_that_are_not_called_days_are_not_guessed() -> None:
    schema = avro_values.a_record(
        ("ref", "string"), ("sku", "string"), ("qty", "int"), ("eta", ["null", "int"]), name="CreateBatch"
    )
    value = avro_values.a_value(schema, {"ref": "b", "sku": "s", "qty": 1, "eta": 20300101})
    reason, error = refusal_of(value, record_name="CreateBatch", registry=avro_values.FakeRegistry(schema))
    assert reason == "wrong_record"
    assert "CreateBatch.eta the type int; ours has NoneType or date" in error


@pytest.mark.parametrize(
    "definition",
    [
        '"string"',
        '{"type": "object", "properties": {}}',
        'syntax = "proto3"; message Allocate {}',
        "",
        "null",
        "[]",
        "7",
    ],
)
def test_a_registered_schema_that_is_no_avro_record_is_the_wrong_one(definition: str) -> None:
    reason, error = refusal_of(b"\0\0\0\0\x28\x02o", registry=avro_values.FakeRegistry(definition))
    assert reason == "wrong_record"
    assert "schema 40 cannot be read as Allocate" in error


def test_many_unknown_ids_do_not_fill_the_memory() -> None:
    registry = avro_values.FakeRegistry()
    avro = avro_values.a_serde(registry)
    for schema_id in range(5000, 8000):
        with pytest.raises(ports.UnreadableValue):
            avro.deserialize("Allocate", b"\0" + schema_id.to_bytes(4, "big"))
    assert len(avro._unknown) <= serde._MAX_CACHED_IDS  # noqa: SLF001
