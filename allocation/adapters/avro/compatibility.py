"""Whether values written with one schema can be read with another, told for each field.

Apache Avro's own rules decide; what its checker lets pass is added here: another namespace, under which
readers with generated classes find nothing, and another logical type, which makes a date of a number.
"""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, TypeGuard

import fastavro
from avro import compatibility, errors, schema

from allocation.service_layer.operations import schema_contract

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPATIBLE = compatibility.SchemaCompatibilityType.compatible


def obstacles(*, reader: str, writer: str) -> tuple[schema_contract.Obstacle, ...]:
    """Return why a reader with the one definition cannot read what was written with the other; none if it can."""
    try:
        ours, theirs = _parsed(reader), _parsed(writer)
    except (errors.AvroException, fastavro.schema.SchemaParseException) as error:
        return (schema_contract.Obstacle("", f"it is no Avro schema: {error}"),)
    if not (_is_record(ours) and _is_record(theirs)):
        return (schema_contract.Obstacle("", "it describes no record"),)
    found = tuple(chain(_of_names(ours, theirs), _of_fields(ours, theirs)))
    whole = _result(ours, theirs)
    if whole and not found:  # the library has the last word, also on what is not looked for field by field
        return (schema_contract.Obstacle("", whole),)
    return found


def _parsed(definition: str) -> schema.Schema:
    parsed = schema.parse(definition)
    fastavro.parse_schema(json.loads(definition))  # looks at defaults, which the other leaves alone
    return parsed


def _is_record(parsed: schema.Schema) -> TypeGuard[schema.RecordSchema]:
    return isinstance(parsed, schema.RecordSchema)


def _of_names(reader: schema.RecordSchema, writer: schema.RecordSchema) -> Iterator[schema_contract.Obstacle]:
    if reader.fullname != writer.fullname:
        yield schema_contract.Obstacle("", f"the reader's record is {reader.fullname}, the writer's {writer.fullname}")


def _of_fields(reader: schema.RecordSchema, writer: schema.RecordSchema) -> Iterator[schema_contract.Obstacle]:
    for field in reader.fields:
        if not _has_fitting_default(field):
            yield schema_contract.Obstacle(field.name, "its default must be of the first type of its union")
        written = compatibility.lookup_writer_field(writer_schema=writer, reader_field=field)
        if written is None:
            if not field.has_default:
                yield schema_contract.Obstacle(field.name, "the writer does not have it, and the reader has no default")
            continue
        text = _result(field.type, written.type) or _of_logical_types(field.type, written.type)
        if text:
            yield schema_contract.Obstacle(field.name, text)


def _has_fitting_default(field: schema.Field) -> bool:
    """Tell whether a null default goes with a union that begins with null; Java's readers refuse any other."""
    if not (field.has_default and isinstance(field.type, schema.UnionSchema)):
        return True
    return bool((field.default is None) == (field.type.schemas[0].type == "null"))


def _result(reader: schema.Schema, writer: schema.Schema) -> str:
    result = compatibility.ReaderWriterCompatibilityChecker().get_compatibility(reader, writer)
    return "" if result.compatibility is _COMPATIBLE else ", ".join(sorted(result.messages))


def _of_logical_types(reader: schema.Schema, writer: schema.Schema) -> str:
    """Compare what each type that may be written is read as."""
    for written in _branches(writer):
        read = _counterpart(reader, written)
        if isinstance(read, schema.ArraySchema) and isinstance(written, schema.ArraySchema):
            text = _of_logical_types(read.items, written.items)
        elif isinstance(read, schema.MapSchema) and isinstance(written, schema.MapSchema):
            text = _of_logical_types(read.values, written.values)
        elif _is_record(read) and _is_record(written):
            text = "; ".join(f"{one.field}: {one.text}" for one in _of_fields(read, written))
        else:
            text = _of_logical_type(read, written)
        if text:
            return text
    return ""


def _branches(parsed: schema.Schema) -> list[schema.Schema]:
    return list(parsed.schemas) if isinstance(parsed, schema.UnionSchema) else [parsed]


def _counterpart(reader: schema.Schema, written: schema.Schema) -> schema.Schema:
    """Return the reader's type that a value of a written type becomes: the same type where there is one."""
    fitting = [branch for branch in _branches(reader) if not _result(branch, written)]
    return next((branch for branch in fitting if branch.type == written.type), fitting[0])


def _of_logical_type(read: schema.Schema, written: schema.Schema) -> str:
    ours, theirs = (one.props.get("logicalType") for one in (read, written))
    if ours == theirs:
        return ""
    return f"the reader takes it for {_told(read.type, ours)}, the writer means {_told(written.type, theirs)}"


def _told(avro_type: str, logical: object) -> str:
    return f"a plain {avro_type}" if logical is None else f"the logical type {logical}"
