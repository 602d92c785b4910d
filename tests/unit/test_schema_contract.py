"""Which changes of a schema are refused, and what is said about them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from allocation.adapters.avro import compatibility, schemas
from allocation.service_layer.operations import schema_contract
from tests import avro_values

DATE = {"type": "int", "logicalType": "date"}
BATCH = (("ref", "string"), ("qty", "int"), ("eta", ["null", DATE]))
OLD_DATA, NEW_DATA = schema_contract.Direction.OLD_DATA, schema_contract.Direction.NEW_DATA


def a_schema(*fields: tuple[str, Any], **more: Any) -> str:
    """Return a record whose optional fields are null by default."""
    record = avro_values.a_record(*fields, **more)
    for field in record["fields"]:
        if isinstance(field["type"], list):
            field["default"] = None
    return json.dumps(record)


def breaches(*, old: str, new: str, is_command: bool = True) -> list[schema_contract.Breach]:
    contract = schema_contract.Contract(
        record_name="Allocate",
        subject="allocate-value",
        is_command=is_command,
        current=new,
        versions=(schema_contract.Version("v1", old),),
    )
    return list(schema_contract.breaches([contract], obstacles=compatibility.obstacles))


@pytest.mark.parametrize(
    "new",
    [
        a_schema(*BATCH),
        a_schema(*BATCH, doc="in other words"),
        a_schema(*reversed(BATCH)),
        a_schema(*BATCH, ("colour", ["null", "string"])),
        a_schema(*BATCH[:2]),
    ],
    ids=["same", "doc", "order", "an optional field more", "an optional field less"],
)
def test_what_breaks_nobody_is_allowed(new: str) -> None:
    assert breaches(old=a_schema(*BATCH), new=new) == []


@pytest.mark.parametrize(
    ("new", "field", "directions", "told"),
    [
        (a_schema(*BATCH, ("colour", "string")), "colour", [OLD_DATA], "no default"),
        (a_schema(BATCH[0], BATCH[2]), "qty", [NEW_DATA], "no default"),
        (a_schema(BATCH[0], ("qty", "long"), BATCH[2]), "qty", [NEW_DATA], "reader type: int .* writer type: long"),
        (a_schema(BATCH[0], ("qty", "string"), BATCH[2]), "qty", [OLD_DATA, NEW_DATA], "string"),
        (a_schema(*BATCH[:2], ("eta", DATE)), "eta", [OLD_DATA], "null"),
        (a_schema(*BATCH[:2], ("eta", ["null", "int"])), "eta", [OLD_DATA, NEW_DATA], "logical type date"),
        (a_schema(BATCH[0], ("qty", DATE), BATCH[2]), "qty", [OLD_DATA, NEW_DATA], "a plain int"),
        (
            a_schema(*BATCH[:2], ("eta", ["null", {"type": "int", "logicalType": "time-millis"}])),
            "eta",
            [OLD_DATA, NEW_DATA],
            "time-millis",
        ),
        (a_schema(*BATCH, namespace="elsewhere"), "", [OLD_DATA, NEW_DATA], "elsewhere.Allocate"),
        (a_schema(*BATCH, name="Order"), "", [OLD_DATA, NEW_DATA], "allocation.Order"),
    ],
    ids=[
        "a field without default",
        "a needed field less",
        "a wider type",
        "another type",
        "no longer optional",
        "a logical type less",
        "a logical type more",
        "another logical type",
        "namespace",
        "name",
    ],
)
def test_what_breaks_somebody_is_refused_with_the_field_and_the_direction(
    new: str, field: str, directions: list[schema_contract.Direction], told: str
) -> None:
    found = breaches(old=a_schema(*BATCH), new=new)
    assert [(one.field, one.direction) for one in found] == [(field, direction) for direction in directions]
    where = f"Allocate.{field}" if field else "Allocate"
    for one in found:
        assert str(one).startswith(f"{where} breaks v1 ({one.direction.value}): ")
        assert re.search(told, one.text)


@pytest.mark.parametrize(
    "definition",
    [
        a_schema(*BATCH, ("colour", ["string", "null"])),
        a_schema(*BATCH, ("colour", ["null", "string"])).replace('"default": null}]', '"default": "red"}]'),
    ],
    ids=["null", "text"],
)
def test_a_default_that_is_not_of_the_first_type_is_refused(definition: str) -> None:
    (found,) = breaches(old=a_schema(*BATCH), new=definition)
    assert (found.field, found.text.partition(";")[0]) == (
        "colour",
        "its default must be of the first type of its union",
    )


def test_a_default_that_is_of_no_type_of_the_field_is_refused() -> None:
    definition = json.loads(a_schema(*BATCH))
    definition["fields"][1]["default"] = "many"
    assert "Default value <many>" in breaches(old=a_schema(*BATCH), new=json.dumps(definition))[0].text


def test_a_logical_type_is_looked_for_within_types() -> None:
    def of_items(items: Any) -> str:
        return a_schema(
            ("days", {"type": "array", "items": items}),
            ("by_name", {"type": "map", "values": items}),
            ("part", avro_values.a_record(("day", items), name="Part")),
        )

    found = breaches(old=of_items(DATE), new=of_items("int"))
    assert [one.field for one in found] == ["days", "by_name", "part"] * 2
    assert breaches(old=of_items(DATE), new=of_items(DATE)) == []


def test_every_broken_field_and_version_is_told() -> None:
    contract = schema_contract.Contract(
        record_name="Allocate",
        subject="allocate-value",
        is_command=True,
        current=a_schema(("a", "string"), ("b", "string")),
        versions=tuple(schema_contract.Version(f"v{number}", a_schema(("c", "string"))) for number in (1, 2)),
    )
    found = list(schema_contract.breaches([contract], obstacles=compatibility.obstacles))
    assert [(one.version, one.field) for one in found] == [
        (v, field) for v in ("v1", "v2") for field in ("a", "b", "c")
    ]


def test_it_is_told_for_whose_sake_a_change_is_refused() -> None:
    more, less = a_schema(*BATCH, ("colour", "string")), a_schema(*BATCH[1:])
    reasons = {
        (is_command, new): breaches(old=a_schema(*BATCH), new=new, is_command=is_command)[0].text
        for is_command in (True, False)
        for new in (more, less)
    }
    assert "every replay" in reasons[True, more]
    assert "would refuse new commands" in reasons[True, less]
    assert "verify" in reasons[False, more]
    assert "no longer read new events" in reasons[False, less]


@pytest.mark.parametrize("new", ["{", '"string"', '{"type": "nothing"}', '{"type": "record", "name": "A"}'])
def test_what_is_no_record_breaks_everybody(new: str) -> None:
    assert {one.direction for one in breaches(old=a_schema(*BATCH), new=new)} == {OLD_DATA, NEW_DATA}


@pytest.mark.parametrize("name", schemas.load())
def test_the_schemas_keep_what_was_released(name: str) -> None:
    released = schemas.released()[name]
    assert next(iter(released)) == "v1"
    for definition in released.values():
        assert breaches(old=definition, new=schemas.load()[name]) == []
