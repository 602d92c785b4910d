"""Confluent's wire format: a zero byte, the schema's id as four bytes big-endian, the Avro body.

See "Wire format" in the manual of Confluent's schema registry.
"""

from __future__ import annotations

from allocation.service_layer import ports

MAGIC = b"\0"
HEADER_BYTES = 5
# Registries count in a Java int; a larger number is no id of any of them.
MAX_SCHEMA_ID = 2**31 - 1


def header(schema_id: int) -> bytes:
    """Return the five bytes that stand before a body."""
    return MAGIC + schema_id.to_bytes(4, "big")


def schema_id(value: bytes) -> int:
    """Return the id in a value's header; raises `UnreadableValue` where there is no such header."""
    if value[:1] != MAGIC:
        found = f"begins with byte {value[0]:#04x}" if value else "is empty"
        msg = f"the value {found}; the Confluent wire format begins with 0x00 and a schema id"
        raise ports.UnreadableValue("undecodable", msg)
    if len(value) < HEADER_BYTES:
        msg = f"the value is {len(value)} bytes long; the header of the wire format alone has {HEADER_BYTES}"
        raise ports.UnreadableValue("undecodable", msg)
    found_id = int.from_bytes(value[1:HEADER_BYTES], "big")
    if found_id > MAX_SCHEMA_ID:
        msg = f"schema id {found_id} is out of range; registries give ids up to {MAX_SCHEMA_ID}"
        raise ports.UnreadableValue("unknown_schema", msg)
    return found_id
