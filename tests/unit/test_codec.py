"""The short way writes and reads what the library does, or leaves it to the library."""

from __future__ import annotations

import io
import json
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocation.adapters.avro import codec, schemas

_SCHEMA = fastavro.parse_schema(json.loads(schemas.load()["LineAllocated"]))
_CODEC = codec.Codec({"orderid": str, "sku": str, "qty": int, "batchref": str})
_HEADER = b"\0\0\0\0\1"
_LINES = st.fixed_dictionaries(
    {
        "orderid": st.text(max_size=80),
        "sku": st.text(),
        "qty": st.integers(-70, 70) | st.integers(-(2**31), 2**31 - 1),
        "batchref": st.text(),
    }
)


def of_the_library(fields: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, _SCHEMA, fields, strict=True)
    return _HEADER + out.getvalue()


@given(_LINES)
def test_a_record_is_written_as_the_library_writes_it(fields: dict[str, Any]) -> None:
    try:
        written = _CODEC.encode(_HEADER, fields)
    except codec.Unusual:
        return
    assert written == of_the_library(fields)


@given(_LINES)
def test_a_record_of_the_library_is_read_as_it_was_written(fields: dict[str, Any]) -> None:
    try:
        found = _CODEC.decode(of_the_library(fields), len(_HEADER))
    except codec.Unusual:
        return
    assert found == fields


@given(st.binary(max_size=60))
def test_whatever_is_read_of_any_bytes_is_what_the_library_reads(body: bytes) -> None:
    try:
        found = _CODEC.decode(_HEADER + body, len(_HEADER))
    except codec.Unusual:
        return
    assert found == fastavro.schemaless_reader(io.BytesIO(body), _SCHEMA, None)


def test_an_ordinary_record_is_not_left_to_the_library() -> None:
    fields = {"orderid": "order-1", "sku": "LAMP", "qty": 3, "batchref": "b1"}
    assert _CODEC.decode(_CODEC.encode(_HEADER, fields), len(_HEADER)) == fields


@pytest.mark.parametrize(
    "fields",
    [
        {"orderid": "o", "sku": "s", "qty": 1},
        {"orderid": "o", "sku": "s", "qty": 1, "batchref": None},
        {"orderid": "o", "sku": "s", "qty": 1, "batchref": "b", "more": 1},
        {"orderid": "\ud800", "sku": "s", "qty": 1, "batchref": "b"},
    ],
)
def test_what_is_wrong_is_left_to_the_library(fields: dict[str, Any]) -> None:
    with pytest.raises(codec.Unusual):
        _CODEC.encode(_HEADER, fields)
