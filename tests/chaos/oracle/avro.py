"""Values in the Confluent wire format, by fastavro and the files in `schemas/`."""

from __future__ import annotations

import io
import json
import struct
import urllib.request
from pathlib import Path
from typing import Any

import fastavro

_DIRECTORY = Path(__file__).parents[3] / "schemas"
_HEADER = struct.Struct(">bI")

COMMANDS = {"create_batch": "CreateBatch", "change_batch_quantity": "ChangeBatchQuantity", "allocate": "Allocate"}
EVENTS = {"line_allocated": "LineAllocated", "line_deallocated": "LineDeallocated", "out_of_stock": "OutOfStock"}
NAMES = {**COMMANDS, **EVENTS}

_SCHEMAS: dict[str, Any] = {
    topic: fastavro.parse_schema(json.loads((_DIRECTORY / f"{topic}.avsc").read_text())) for topic in NAMES
}


def schema(topic: str) -> dict[str, Any]:
    """Return the schema of a topic."""
    found: dict[str, Any] = json.loads((_DIRECTORY / f"{topic}.avsc").read_text())
    return found


def registered_id(registry_url: str, subject: str) -> int:
    """Ask the registry for the id of a subject's latest schema."""
    with urllib.request.urlopen(f"{registry_url}/subjects/{subject}/versions/latest", timeout=10) as answer:
        return int(json.load(answer)["id"])


def encode(topic: str, fields: dict[str, Any], schema_id: int) -> bytes:
    """Return a value of a topic's schema (the topic without its prefix)."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, _SCHEMAS[topic], fields)
    return _HEADER.pack(0, schema_id) + body.getvalue()


def read(topic: str, value: bytes | None, schema_id: int) -> dict[str, Any] | None:
    """Return the fields of a value of a topic's own schema, None for anything else."""
    if value is None or value[: _HEADER.size] != _HEADER.pack(0, schema_id):
        return None
    body = io.BytesIO(value[_HEADER.size :])
    try:
        fields: Any = fastavro.schemaless_reader(body, _SCHEMAS[topic], None)
    except (EOFError, ValueError, IndexError):
        return None
    return None if body.read() else dict(fields)
