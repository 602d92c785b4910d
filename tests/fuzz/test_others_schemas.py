"""Values written with schemas that others have registered, however odd those are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st

from allocation.adapters.postgres import schema
from tests import avro_values, databases
from tests.fuzz import rig as rigs
from tests.fuzz import strategies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack

FUZZ = hypothesis.settings.get_profile("fuzz")
_LINE = [{"name": name, "type": kind} for name, kind in avro_values.LINE]


def a_schema(name: Any = "Allocate", fields: Any = None, **more: Any) -> str:
    return json.dumps({"type": "record", "name": name, "fields": _LINE if fields is None else fields, **more})


# Each is what a registry that checks little may hold.
DEFINITIONS = (
    a_schema("x" * 150_000),
    a_schema("\ud800"),
    a_schema("A\0B"),
    a_schema("Allocate", [{"name": "\ud800", "type": "string"}]),
    a_schema("Allocate", [*_LINE, {"name": "x" * 150_000, "type": "bytes"}]),
    a_schema("Allocate", [*_LINE, {"name": "e", "type": {"type": "enum", "name": "\0", "symbols": ["A"]}}]),
    a_schema("Allocate", [*_LINE, {"name": "e", "type": "y" * 150_000}]),
    a_schema("Allocate", [{"name": name, "type": "bytes"} for name, _ in avro_values.LINE]),
    a_schema("Allocate", [{"name": name, "type": "long"} for name, _ in avro_values.LINE]),
    a_schema("Allocate", [{"name": "qty", "type": {"type": "int", "logicalType": "date"}}, *_LINE[:2]]),
    a_schema("Allocate", [{"name": "qty", "type": {"type": "long", "logicalType": "timestamp-micros"}}, *_LINE[:2]]),
    a_schema("Allocate", [{"name": "qty", "type": "double"}, *_LINE[:2]]),
    a_schema("Allocate", [*_LINE, {"name": "m", "type": {"type": "map", "values": "string"}}]),
    a_schema("Allocate", [*_LINE, {"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": -1}}]),
    a_schema("Allocate", [*_LINE, {"name": "u", "type": {"type": "string", "logicalType": "uuid"}}]),
    a_schema("Allocate", [_LINE[0], _LINE[0], *_LINE[1:]]),
    "\0", "[]", "null", '"string"',
)  # fmt: skip


@pytest.fixture(scope="module")
def rig(endpoints: devstack.Endpoints) -> Iterator[rigs.Rig]:
    with databases.fresh(endpoints) as database:
        schema.migrate(database)
        yield rigs.Rig(database, definitions=DEFINITIONS)


schema_ids = st.integers(avro_values.OTHERS_ID, avro_values.OTHERS_ID + len(DEFINITIONS) - 1)
bodies = st.binary(max_size=40) | strategies.written.map(lambda value: value[5:])
drafts = st.builds(
    lambda topic, number, body: rigs.Draft(topic, b"\0" + number.to_bytes(4, "big") + body),
    st.sampled_from(rigs.TOPICS),
    schema_ids,
    bodies,
)


def test_each_schema_alone_is_settled(rig: rigs.Rig) -> None:
    body = rigs.value("Allocate", avro_values.ALLOCATE)[5:]
    numbers = range(avro_values.OTHERS_ID, avro_values.OTHERS_ID + len(DEFINITIONS))
    values = [b"\0" + number.to_bytes(4, "big") + body for number in numbers]
    rig.run(rigs.among_neighbours(rigs.Draft(topic, value) for topic in rigs.TOPICS for value in values))


@hypothesis.settings(FUZZ)
@hypothesis.given(batch=st.lists(drafts, min_size=1, max_size=25))
def test_values_of_others_schemas_are_settled_once(rig: rigs.Rig, batch: list[rigs.Draft]) -> None:
    rig.run(rigs.among_neighbours(batch))
