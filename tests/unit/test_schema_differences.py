from __future__ import annotations

import json
from typing import Any

from allocation.service_layer.operations import schema_differences
from tests import avro_values

LINE = avro_values.LINE


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str | None, ...]]:
    return [tuple(one) for one in schema_differences.differences(old=json.dumps(old), new=json.dumps(new))]


def test_the_same_schema_differs_in_nothing() -> None:
    assert differences(avro_values.a_record(*LINE), avro_values.a_record(*LINE)) == []


def test_fields_that_came_and_went_are_shown_whole() -> None:
    new = avro_values.a_record(*LINE[1:], ("colour", ["null", "string"]))
    assert differences(avro_values.a_record(*LINE), new) == [
        ("colour", "", None, '{"type": ["null", "string"]}'),
        ("orderid", "", '{"type": "string"}', None),
    ]


def test_what_changed_of_a_field_is_shown_by_property() -> None:
    old, new = avro_values.a_record(*LINE), avro_values.a_record(*LINE[:2], ("qty", "long"))
    new["fields"][2]["default"] = None
    assert differences(old, new) == [("qty", "type", '"int"', '"long"'), ("qty", "default", None, "null")]


def test_what_changed_of_the_record_and_of_the_order_is_shown() -> None:
    new = avro_values.a_record(*reversed(LINE), doc="An order line.")
    assert differences(avro_values.a_record(*LINE), new) == [
        ("", "doc", None, '"An order line."'),
        ("", "order of fields", '["orderid", "sku", "qty"]', '["qty", "sku", "orderid"]'),
    ]
