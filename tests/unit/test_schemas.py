"""The published schemas, against a table written by hand: a change here is a change for everyone else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from allocation.adapters.avro import schemas
from allocation.service_layer import topics

OPTIONAL_DATE = ["null", {"type": "int", "logicalType": "date"}]
OPTIONAL_STRING = ["null", "string"]
PUBLISHED: dict[str, list[tuple[str, Any]]] = {
    "CreateBatch": [("ref", "string"), ("sku", "string"), ("qty", "int"), ("eta", OPTIONAL_DATE)],
    "Allocate": [("orderid", "string"), ("sku", "string"), ("qty", "int")],
    "ChangeBatchQuantity": [("batchref", "string"), ("qty", "int"), ("sku", OPTIONAL_STRING)],
    "LineAllocated": [("orderid", "string"), ("sku", "string"), ("qty", "int"), ("batchref", "string")],
    "LineDeallocated": [("orderid", "string"), ("sku", "string"), ("qty", "int"), ("batchref", "string")],
    "OutOfStock": [("sku", "string"), ("orderid", "string"), ("qty", "int")],
}


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(schemas.load()[name])
    return loaded


def test_every_topic_of_commands_and_events_has_its_schema() -> None:
    names = topics.TopicNames()
    assert set(schemas.load()) == set(PUBLISHED) == set(names.commands | names.events)


@pytest.mark.parametrize("name", PUBLISHED)
def test_fields_and_types_are_as_published(name: str) -> None:
    assert [(field["name"], field["type"]) for field in schema(name)["fields"]] == PUBLISHED[name]
    assert schema(name)["namespace"] == "allocation"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_field_that_may_be_null_is_so_by_default(name: str) -> None:
    for field in schema(name)["fields"]:
        assert ("default" in field) == isinstance(field["type"], list)
        assert field.get("default") is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_record_and_field_is_explained(name: str) -> None:
    assert all(part["doc"].endswith(".") for part in (schema(name), *schema(name)["fields"]))


def test_the_subject_is_named_after_the_whole_topic() -> None:
    assert schemas.subject(topics.TopicNames("eu.").allocate) == "eu.allocate-value"
