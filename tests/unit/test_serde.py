"""Values in our own schemas: what is written, what is read, and which bytes are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from allocation.adapters.avro import schemas, serde
from allocation.service_layer import ports
from tests import avro_values


def refusal_of(value: bytes, *, record_name: str = "Allocate") -> tuple[str, str]:
    with pytest.raises(ports.UnreadableValue) as caught:
        avro_values.a_serde().deserialize(record_name, value)
    return caught.value.reason, str(caught.value)


@pytest.mark.parametrize("record_name", avro_values.IDS)
def test_what_was_written_is_read_again(record_name: str) -> None:
    value = avro_values.a_serde().serialize(record_name, avro_values.SAMPLES[record_name])
    assert avro_values.a_serde().deserialize(record_name, value) == avro_values.SAMPLES[record_name]


def test_a_value_is_a_zero_byte_the_schema_id_and_the_avro_body() -> None:
    value = avro_values.a_serde().serialize("Allocate", {"orderid": "o", "sku": "é", "qty": -2})
    assert value == b"\0" + b"\0\0\0\x0c" + b"\x02o" + b"\x04\xc3\xa9" + b"\x03"


def test_our_own_schemas_need_no_registry() -> None:
    registry = avro_values.FakeRegistry()
    avro = avro_values.a_serde(registry)
    avro.deserialize("Allocate", avro.serialize("Allocate", avro_values.ALLOCATE))
    assert registry.asked == []


@pytest.mark.parametrize("qty", [2**31, -(2**31) - 1, 2**63, True, 1.0, "3", None])
def test_a_quantity_that_is_no_avro_int_is_not_written(qty: object) -> None:
    with pytest.raises(ValueError, match=r"qty is .* whole number from -2147483648 to 2147483647"):
        avro_values.a_serde().serialize("Allocate", {**avro_values.ALLOCATE, "qty": qty})


@pytest.mark.parametrize(
    "fields",
    [
        {"orderid": "o", "qty": 1},
        {"orderid": "o", "sku": None, "qty": 1},
        {"orderid": "o", "sku": b"LAMP", "qty": 1},
        {"orderid": "o", "sku": "LAMP\ud800", "qty": 1},
        {"orderid": "o", "sku": "LAMP", "qty": 1, "colour": "red"},
    ],
    ids=["missing", "none", "bytes", "surrogate", "too many"],
)
def test_fields_that_the_schema_cannot_hold_are_not_written(fields: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError), match=r"sku|colour|surrogates"):
        avro_values.a_serde().serialize("Allocate", fields)


def test_a_record_without_an_id_can_be_read_but_not_written() -> None:
    registry = avro_values.FakeRegistry(schemas.load()["Allocate"])
    avro = serde.AvroSerde(ids={}, lookup=registry.lookup)
    value = avro_values.a_value(json.loads(schemas.load()["Allocate"]), avro_values.ALLOCATE)
    assert avro.deserialize("Allocate", value) == avro_values.ALLOCATE
    with pytest.raises(ValueError, match="allocation init"):
        avro.serialize("Allocate", avro_values.ALLOCATE)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"", "is empty"),
        (b'{"orderid": "o-1"}', "begins with byte 0x7b"),
        (b"\x01\0\0\0\x0c\x02o\x02s\x02", "begins with byte 0x01"),
        (b"\0", "1 bytes long"),
        (b"\0\0\0\0", "4 bytes long"),
        (b"\0\0\0\0\x0c", "is no Avro record Allocate"),
        (b"\0\0\0\0\x0c\x02o\x02s", "is no Avro record Allocate"),
        (b"\0\0\0\0\x0c\x08o", "Expected 4 bytes, read 1"),
        (b"\0\0\0\0\x0c\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01o", "Expected 9223372036854775807 bytes"),
        (b"\0\0\0\0\x0c\x01o\x02s\x02", "Expected -1 bytes"),
        (b"\0\0\0\0\x0c" + b"\xff" * 5000, "is no Avro record Allocate"),
        (b"\0\0\0\0\x0c\x02\xff\x02s\x02", "utf-8"),
        (b"\0\0\0\0\x0c\x02o\x02s\x02\x00", "1 of the value's 11 bytes are left over"),
        (b"\0\0\0\0\x0c\x02o\x02s\x80\x80\x80\x80\x10", "qty is 2147483648"),
        (b"\0\0\0\0\x0c\x02o\x02s\x81\x80\x80\x80\x10", "qty is -2147483649"),
    ],
)
def test_bytes_that_are_no_record_are_undecodable(value: bytes, told: str) -> None:
    reason, error = refusal_of(value)
    assert reason == "undecodable"
    assert told in error


@pytest.mark.parametrize(
    "eta",
    [
        b"\x02\xfe\xff\xff\xff\x0f",
        b"\x02\xff\xff\xff\xff\x0f",
        b"\x02\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x04",
    ],
    ids=["beyond year 9999", "before year 1", "64 bits", "no branch of the union"],
)
def test_a_day_that_is_none_is_undecodable(eta: bytes) -> None:
    reason, error = refusal_of(b"\0\0\0\0\x0b\x02b\x02s\x02" + eta, record_name="CreateBatch")
    assert reason == "undecodable"
    assert "CreateBatch" in error
