"""Read and write values in the Confluent wire format: the shape of our own schemas inside, anyone's outside.

Whatever the bytes are, reading gives the fields of the expected record or `UnreadableValue`, never
another exception, never an endless loop, never a crash. A value in our own schema is read without
the registry, whose answers for other ids are kept: ids are never given twice.
"""

from __future__ import annotations

import datetime as dt
import io
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import fastavro

from allocation.adapters.avro import codec, schemas, wire, writers
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastavro.types import Schema

MIN_INT, MAX_INT = -(2**31), 2**31 - 1  # Avro's int; the library itself reads and writes any size

# A follower of a registry may be seconds behind its leader, so "no such id" is not for ever; asking
# again for each message of a flood would be slow.
UNKNOWN_ID_TTL_S = 5.0
# Ids are few in life; this many different ones come from noise, and forgetting them costs a look-up each.
_MAX_CACHED_IDS = 1000

# What the library raises on bytes that do not fit the schema.
_DECODE_ERRORS = (
    EOFError,  # too short
    LookupError,  # a union or an enum with no such branch
    ArithmeticError,  # a date beyond the year 9999, a number beyond 64 bits
    ValueError,  # text that is no UTF-8
    TypeError,
    struct.error,
    RecursionError,
    MemoryError,
)
# What it raises on definitions that are no schema.
_PARSE_ERRORS = (fastavro.schema.SchemaParseException, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Own:
    """One of our schemas as the hot path needs it."""

    schema: Schema
    shape: object
    header: bytes
    ints: tuple[str, ...]
    types: Mapping[str, tuple[type, ...]]
    codec: codec.Codec | None


@dataclass(frozen=True, slots=True)
class _Writer:
    """A schema that a value was written with, and `reader` where it must be resolved to ours."""

    schema: Schema
    reader: Schema | None


class AvroSerde:
    """Serializer and deserializer; threads may share it.

    `ids` are the registered ids of our own schemas by record name (one that is missing can be read
    but not written); `lookup` returns a registered schema's definition by id, blocks, and raises
    `KeyError` where there is none and `DependencyDown` where the registry does not answer.
    """

    def __init__(
        self,
        *,
        ids: Mapping[str, int],
        lookup: Callable[[int], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = {name: _own(text, ids.get(name)) for name, text in schemas.load().items()}
        self._definitions = {schema_id: schemas.load()[name] for name, schema_id in ids.items()}
        self._lookup = lookup
        self._clock = clock
        self._writers: dict[tuple[str, int], _Writer | ports.UnreadableValue] = {}
        self._unknown: dict[int, float] = {}

    def serialize(self, record_name: str, fields: Mapping[str, Any]) -> bytes:
        """Return header and Avro body.

        Raises ValueError or TypeError, naming the field, for what the schema cannot hold.
        """
        own = self._own[record_name]
        if not own.header:
            msg = f"the schema of {record_name} has no id yet; `allocation init` registers it"
            raise ValueError(msg)
        for name in own.ints:
            value = fields[name]
            if type(value) is not int or not MIN_INT <= value <= MAX_INT:
                msg = f"{name} is {value!r}; it must be a whole number from {MIN_INT} to {MAX_INT}"
                raise ValueError(msg)
        if own.codec is None:
            return _encode(own, fields)
        try:
            return own.codec.encode(own.header, fields)
        except codec.Unusual:
            return _encode(own, fields)

    def deserialize(self, record_name: str, value: bytes) -> Mapping[str, Any]:
        """Return the fields of a record in the shape of our own schema; see `ports.Deserializer`."""
        own = self._own[record_name]
        if own.header and value.startswith(own.header):
            fields = _decode_own(value, own, record_name)
        else:
            writer = self._writer(record_name, own, wire.schema_id(value))
            fields = _decode(value, writer.schema, writer.reader, record_name)
            if writer.reader is not None:
                _check_types(fields, own, record_name)
        for name in own.ints:
            if not MIN_INT <= fields[name] <= MAX_INT:
                msg = f"{name} is {fields[name]}, which is out of the range of an Avro int"
                raise ports.UnreadableValue("undecodable", msg)
        return fields

    def _writer(self, record_name: str, own: _Own, schema_id: int) -> _Writer:
        key = (record_name, schema_id)
        writer = self._writers.get(key)
        if writer is None:
            definition = self._definition(schema_id)
            if len(self._writers) >= _MAX_CACHED_IDS:
                self._writers.clear()
            writer = self._writers[key] = _resolve(record_name, own, schema_id, definition)
        if isinstance(writer, ports.UnreadableValue):
            raise ports.UnreadableValue(writer.reason, str(writer))
        return writer

    def _definition(self, schema_id: int) -> str:
        known = self._definitions.get(schema_id)
        if known is not None:
            return known
        if self._unknown.get(schema_id, 0.0) > self._clock():
            raise _unknown(schema_id)
        try:
            return self._lookup(schema_id)
        except KeyError as error:
            if len(self._unknown) >= _MAX_CACHED_IDS:
                self._unknown.clear()
            self._unknown[schema_id] = self._clock() + UNKNOWN_ID_TTL_S
            raise _unknown(schema_id) from error


def _own(definition: str, schema_id: int | None) -> _Own:
    schema = writers.admit(definition)
    types = {field["name"]: _python_types(field["type"]) for field in schema["fields"]}
    plain = {name: kinds[0] for name, kinds in types.items() if kinds in {(str,), (int,)}}
    return _Own(
        schema=fastavro.parse_schema(schema),
        shape=writers.shape(schema),
        header=b"" if schema_id is None else wire.header(schema_id),
        ints=tuple(name for name, kinds in types.items() if kinds == (int,)),
        types=types,
        codec=codec.Codec(plain) if len(plain) == len(types) else None,
    )


def _python_types(avro_type: Any) -> tuple[type, ...]:
    if isinstance(avro_type, list):
        return tuple(kind for branch in avro_type for kind in _python_types(branch))
    by_name: dict[str, type] = {"null": type(None), "string": str, "int": int, "date": dt.date}
    return (by_name[avro_type["logicalType"] if isinstance(avro_type, dict) else avro_type],)


def _resolve(record_name: str, own: _Own, schema_id: int, definition: str) -> _Writer | ports.UnreadableValue:
    """Prepare to read values of one schema as `record_name`, or tell why none can be."""
    try:
        schema = writers.admit(definition)
        found = writers.record_name(schema)
        if found != record_name:
            msg = f"schema {schema_id} describes the record {found}; here {record_name} is expected"
            return ports.UnreadableValue("wrong_record", msg)
        if writers.shape(schema) == own.shape:
            return _Writer(own.schema, None)
        return _Writer(fastavro.parse_schema(schema), own.schema)
    except (writers.NotAdmitted, *_PARSE_ERRORS) as error:
        msg = f"schema {schema_id} cannot be read as {record_name}: {error}"
        return ports.UnreadableValue("wrong_record", msg)


def _encode(own: _Own, fields: Mapping[str, Any]) -> bytes:
    out = io.BytesIO()
    out.write(own.header)
    fastavro.schemaless_writer(out, own.schema, fields, strict=True)
    return out.getvalue()


def _decode_own(value: bytes, own: _Own, record_name: str) -> dict[str, Any]:
    if own.codec is None:
        return _decode(value, own.schema, None, record_name)
    try:
        return own.codec.decode(value, wire.HEADER_BYTES)
    except codec.Unusual:
        return _decode(value, own.schema, None, record_name)


def _decode(value: bytes, writer: Schema, reader: Schema | None, record_name: str) -> dict[str, Any]:
    body = io.BytesIO(value)
    body.seek(wire.HEADER_BYTES)
    try:
        fields: Any = fastavro.schemaless_reader(body, writer, reader)
    except fastavro.read.SchemaResolutionError as error:
        msg = f"the value's schema cannot be resolved to ours of {record_name}: {error}"
        raise ports.UnreadableValue("wrong_record", msg) from error
    except _DECODE_ERRORS as error:
        msg = f"the value is no Avro record {record_name}: {error or type(error).__name__}"
        raise ports.UnreadableValue("undecodable", msg) from error
    if body.tell() != len(value):
        msg = f"{len(value) - body.tell()} of the value's {len(value)} bytes are left over behind the {record_name}"
        raise ports.UnreadableValue("undecodable", msg)
    return fields  # type: ignore[no-any-return]


def _check_types(fields: dict[str, Any], own: _Own, record_name: str) -> None:
    """Refuse a logical type that is not ours, which Avro's resolution lets pass."""
    for name, kinds in own.types.items():
        if type(fields[name]) not in kinds:
            found, expected = type(fields[name]).__name__, " or ".join(kind.__name__ for kind in kinds)
            msg = f"the value's schema gives {record_name}.{name} the type {found}; ours has {expected}"
            raise ports.UnreadableValue("wrong_record", msg)


def _unknown(schema_id: int) -> ports.UnreadableValue:
    msg = f"the registry knows no schema with id {schema_id}, which the value names"
    return ports.UnreadableValue("unknown_schema", msg)
