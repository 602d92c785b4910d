"""Builders of Avro values and schemas, and a registry that answers from memory."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import TYPE_CHECKING, Any

import fastavro

from allocation.adapters.avro import serde
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Mapping

IDS = {
    "CreateBatch": 11,
    "Allocate": 12,
    "ChangeBatchQuantity": 13,
    "LineAllocated": 14,
    "LineDeallocated": 15,
    "OutOfStock": 16,
}
SAMPLES: dict[str, dict[str, Any]] = {
    "CreateBatch": {"ref": "batch-1", "sku": "LAMP", "qty": 10, "eta": dt.date(2030, 1, 2)},
    "Allocate": {"orderid": "o-1", "sku": "LAMP", "qty": 3},
    "ChangeBatchQuantity": {"batchref": "batch-1", "qty": 0, "sku": "LAMP"},
    "LineAllocated": {"orderid": "o-1", "sku": "LAMP", "qty": 3, "batchref": "batch-1"},
    "LineDeallocated": {"orderid": "o-1", "sku": "LAMP", "qty": 3, "batchref": "batch-1"},
    "OutOfStock": {"sku": "LAMP", "orderid": "o-1", "qty": 3},
}
ALLOCATE = SAMPLES["Allocate"]
OTHERS_ID = 40


class FakeRegistry:
    """Knows the definitions that it is given, and counts how often it is asked."""

    def __init__(self, *definitions: Any) -> None:
        self.definitions = {
            OTHERS_ID + number: definition if isinstance(definition, str) else json.dumps(definition)
            for number, definition in enumerate(definitions)
        }
        self.asked: list[int] = []
        self.is_down = False

    def lookup(self, schema_id: int) -> str:
        self.asked.append(schema_id)
        if self.is_down:
            raise ports.DependencyDown("no registry")
        return self.definitions[schema_id]


class FakeClock:
    """Stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def a_serde(
    registry: FakeRegistry | None = None, clock: FakeClock | None = None, *, ids: Mapping[str, int] = IDS
) -> serde.AvroSerde:
    return serde.AvroSerde(ids=ids, lookup=(registry or FakeRegistry()).lookup, clock=clock or FakeClock())


def a_value(schema: Any, fields: dict[str, Any], *, schema_id: int = OTHERS_ID) -> bytes:
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), fields)
    return b"\0" + schema_id.to_bytes(4, "big") + body.getvalue()


def a_record(*fields: tuple[str, Any], name: str = "Allocate", **more: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "namespace": "allocation",
        "fields": [{"name": field, "type": avro_type} for field, avro_type in fields],
        **more,
    }


LINE = (("orderid", "string"), ("sku", "string"), ("qty", "int"))
