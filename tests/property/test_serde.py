"""Whatever the values and the bytes are: a round trip, or `UnreadableValue`, and nothing else."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import hypothesis
from hypothesis import strategies as st

from allocation.adapters.avro import schemas, serde, wire
from allocation.service_layer import ports
from tests import avro_values

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
QTY = st.integers(serde.MIN_INT, serde.MAX_INT)
RECORDS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "CreateBatch": st.fixed_dictionaries({"ref": TEXT, "sku": TEXT, "qty": QTY, "eta": st.none() | st.dates()}),
    "Allocate": st.fixed_dictionaries({"orderid": TEXT, "sku": TEXT, "qty": QTY}),
    "ChangeBatchQuantity": st.fixed_dictionaries({"batchref": TEXT, "qty": QTY, "sku": st.none() | TEXT}),
    "LineAllocated": st.fixed_dictionaries({"orderid": TEXT, "sku": TEXT, "qty": QTY, "batchref": TEXT}),
    "LineDeallocated": st.fixed_dictionaries({"orderid": TEXT, "sku": TEXT, "qty": QTY, "batchref": TEXT}),
    "OutOfStock": st.fixed_dictionaries({"sku": TEXT, "orderid": TEXT, "qty": QTY}),
}
NAMED_RECORDS = st.sampled_from(sorted(RECORDS)).flatmap(lambda name: st.tuples(st.just(name), RECORDS[name]))
TYPES: dict[str, tuple[type, ...]] = {"qty": (int,), "eta": (type(None), dt.date), "sku": (type(None), str)}

# Primitives of a schema and containers of them, well-formed or not.
JSON = st.recursive(
    st.sampled_from(["null", "int", "long", "string", "bytes", "boolean", "double", "Allocate", "", 7, None]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "items", "values", "name", "fields", "size", "symbols", "logicalType", "default"]),
            inner | st.sampled_from(["record", "array", "map", "fixed", "enum", "date", "uuid", "decimal"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


def mutated(draw: st.DrawFn, value: bytes) -> bytes:
    """Change, remove and insert bytes at random places."""
    changed = bytearray(value)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        removed = draw(st.integers(0, 2))
        changed[at : at + removed] = draw(st.binary(max_size=2) | st.sampled_from([b"\xff" * 10, b"\x80" * 9, b"\xfe"]))
    return bytes(changed)


@st.composite
def damaged_values(draw: st.DrawFn) -> tuple[str, bytes]:
    name, fields = draw(NAMED_RECORDS)
    return name, mutated(draw, avro_values.a_serde().serialize(name, fields))


@st.composite
def schemas_with_values(draw: st.DrawFn) -> tuple[str, bytes]:
    """Our own schema with one more field of any type, and any bytes as a value of it."""
    fields: list[dict[str, Any]] = [{"name": name, "type": "string"} for name in ("orderid", "sku")] + [
        {"name": "qty", "type": "int"}
    ]
    fields.insert(draw(st.integers(0, 3)), {"name": "extra", "type": draw(JSON)})
    definition = json.dumps({"type": "record", "name": "Allocate", "fields": fields})
    return definition, draw(st.binary(max_size=40))


def outcome(avro: serde.AvroSerde, name: str, value: bytes) -> Any:
    """Return the fields of a value, or the reason of its refusal."""
    try:
        return avro.deserialize(name, value)
    except ports.UnreadableValue as refusal:
        return refusal.reason


def is_sound(fields: Any) -> bool:
    return all(type(value) in TYPES.get(name, (str,)) for name, value in fields.items())


@hypothesis.given(NAMED_RECORDS)
def test_every_record_comes_back_as_it_was_written(record: tuple[str, dict[str, Any]]) -> None:
    name, fields = record
    avro = avro_values.a_serde()
    assert avro.deserialize(name, avro.serialize(name, fields)) == fields


@hypothesis.given(NAMED_RECORDS, NAMED_RECORDS)
def test_a_record_is_never_read_as_another(one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]]) -> None:
    hypothesis.assume(one[0] != other[0])
    value = avro_values.a_serde().serialize(*one)
    assert outcome(avro_values.a_serde(), other[0], value) == "wrong_record"


@hypothesis.settings(max_examples=500)
@hypothesis.given(damaged_values())
def test_damaged_bytes_give_a_sound_value_or_are_refused(damaged: tuple[str, bytes]) -> None:
    name, value = damaged
    result = outcome(avro_values.a_serde(), name, value)
    if isinstance(result, str):
        assert result in {"undecodable", "unknown_schema", "wrong_record"}
    else:
        assert is_sound(result)
        assert avro_values.a_serde().serialize(name, result)


@hypothesis.given(st.sampled_from(sorted(RECORDS)), st.binary(max_size=60))
def test_any_bytes_behind_our_header_give_a_sound_value_or_are_refused(name: str, body: bytes) -> None:
    result = outcome(avro_values.a_serde(), name, wire.header(avro_values.IDS[name]) + body)
    assert result == "undecodable" or is_sound(result)


@hypothesis.settings(max_examples=500)
@hypothesis.given(schemas_with_values())
def test_any_schema_and_any_bytes_give_a_sound_value_or_are_refused(case: tuple[str, bytes]) -> None:
    definition, body = case
    avro = avro_values.a_serde(avro_values.FakeRegistry(definition))
    result = outcome(avro, "Allocate", wire.header(avro_values.OTHERS_ID) + body)
    assert result in ("undecodable", "wrong_record") or is_sound(result)


def test_every_schema_has_its_strategy() -> None:
    assert set(RECORDS) == set(schemas.load())
