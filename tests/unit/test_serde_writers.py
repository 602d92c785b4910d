"""Schemas that would crash or hang the Avro library are turned away before it sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from allocation.adapters.avro import schemas, writers


def a_record(avro_type: Any, *, name: str = "Allocate") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": "field", "type": avro_type}]}


def nested(depth: int) -> Any:
    avro_type: Any = "int"
    for _ in range(depth):
        avro_type = {"type": "array", "items": avro_type}
    return avro_type


def chained(length: int) -> list[Any]:
    """A union of records, each of which contains the one before it."""
    first = a_record("int", name="R0")
    return [first, *(a_record(f"R{number}", name=f"R{number + 1}") for number in range(length))]


def multiplied(levels: int) -> list[Any]:
    """A union of records, each of which contains ten of the one before it."""
    zero = a_record("null", name="R0")
    more = [
        {
            "type": "record",
            "name": f"R{number + 1}",
            "fields": [{"name": f"f{field}", "type": f"R{number}"} for field in range(10)],
        }
        for number in range(levels)
    ]
    return [zero, *more]


@pytest.mark.parametrize("name", schemas.load())
def test_our_own_schemas_are_admitted(name: str) -> None:
    assert writers.record_name(writers.admit(schemas.load()[name])) == name


@pytest.mark.parametrize(
    "avro_type",
    [
        {"type": "map", "values": ["null", "string"]},
        {"type": "array", "items": a_record("string", name="Tag")},
        {"type": "enum", "name": "Colour", "symbols": ["RED"]},
        [{"type": "fixed", "name": "Hash", "size": 16}, "Hash"],
        {"type": {"type": "string", "logicalType": "uuid"}},
        nested(writers.MAX_DEPTH - 2),
        chained(10),
        multiplied(1),
        [],
    ],
)
def test_extra_fields_of_any_ordinary_type_are_admitted(avro_type: Any) -> None:
    writers.admit(json.dumps(a_record(avro_type)))


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        (json.dumps(a_record(["null", "Allocate"])), "record Allocate contains itself"),
        (json.dumps(a_record(["null", "other.Allocate"])), "contains itself"),
        (json.dumps(a_record(a_record("int"))), "record Allocate contains itself"),
        (json.dumps(a_record(nested(writers.MAX_DEPTH))), "nested 34 deep; at most 32"),
        (json.dumps(a_record(chained(writers.MAX_DEPTH))), "deep; at most 32"),
        (json.dumps(a_record(multiplied(3))), "fields and types; at most 500"),
        (json.dumps(a_record(nested(400))), "deep"),
        ('{"type":' * 20_000, "nested too deeply"),
        (json.dumps(a_record("int")) + " " * writers.MAX_DEFINITION_CHARS, "characters long"),
        (json.dumps(a_record({"type": "array", "items": "null"})), "items that take no bytes"),
        (json.dumps(a_record({"type": "array", "items": a_record("null", name="Empty")})), "take no bytes"),
        (json.dumps(a_record({"type": "map", "values": a_record("int", name="R")}))[:-1], "no Avro schema in JSON"),
        (json.dumps(a_record({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}})), "no bytes"),
        (json.dumps(a_record("Order")), "names a type Order that it does not define"),
        (json.dumps(a_record(None)), "None is no Avro type"),
        (json.dumps({"type": "record", "name": "Allocate", "fields": ["orderid"]}), "None is no Avro type"),
        (json.dumps({"type": "record", "name": "Allocate", "fields": None}), "is not defined|names a type record"),
        (json.dumps({"type": "enum", "name": "Allocate", "symbols": ["A"]}), "describes no Avro record"),
    ],
)
def test_a_schema_that_could_do_harm_is_not_admitted(definition: str, told: str) -> None:
    with pytest.raises(writers.NotAdmitted, match=told):
        writers.admit(definition)


def test_docs_defaults_and_namespaces_do_not_change_the_shape() -> None:
    plain = {"type": "record", "name": "Allocate", "fields": [{"name": "orderid", "type": "string"}]}
    adorned = {
        "type": "record",
        "name": "com.example.Allocate",
        "doc": "an order line",
        "fields": [
            {"name": "orderid", "type": {"type": "string", "avro.java.string": "String"}, "default": "", "doc": "id"}
        ],
    }
    assert writers.shape(plain) == writers.shape(adorned)


def test_logical_types_and_the_order_of_a_union_change_the_shape() -> None:
    days: dict[str, Any] = {"type": "int", "logicalType": "date"}
    assert writers.shape(days) != writers.shape("int")
    assert writers.shape(["null", "int"]) != writers.shape(["int", "null"])
