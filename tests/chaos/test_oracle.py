"""The oracle shares nothing with what it judges, and each of its checks sees the fault that it is there for."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.chaos import oracle
from tests.chaos.oracle import avro, checks, model, observation
from tests.chaos.oracle import log as logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.chaos.oracle.observation import Observation

IDS = {topic: number for number, topic in enumerate(avro.NAMES, 1)}
LINE = model.Line("o1", "LAMP", 3)
BATCH = {"ref": "b1", "sku": "LAMP", "qty": 10, "eta": None}
RUBBISH = logs.Record("allocate", 0, 1, b"LAMP", b"rubbish", (("mine", b"1"),))
DEAD = (("dead_letter_reason", b"undecodable"),)


def command(topic: str, name: str, fields: dict[str, Any]) -> logs.Record:
    headers = (("ce_id", name.encode()), ("ce_source", b"test"))
    return logs.Record(topic, 0, 0, b"LAMP", avro.encode(topic, fields, IDS[topic]), headers)


def event(number: int, *, topic: str = "line_allocated", partition: int = 0, cause: bytes = b"two") -> logs.Record:
    headers = (("ce_id", b"e%d" % number), ("ce_sequence", b"%d" % number), ("ce_causationid", cause))
    value = avro.encode(topic, {**LINE._asdict(), "batchref": "b1"}, IDS[topic])
    return logs.Record(topic, partition, number, b"LAMP", value, headers)


def dead_letter(offset: int = 1, *, value: bytes = b"rubbish") -> logs.Record:
    place = (
        ("dead_letter_topic", b"allocate"),
        ("dead_letter_partition", b"0"),
        ("dead_letter_offset", b"%d" % offset),
    )
    return RUBBISH._replace(topic=observation.DEAD_LETTERS, value=value, headers=(*RUBBISH.headers, *DEAD, *place))


def sound() -> Observation:
    """A batch, a line in it, and rubbish, as they should be."""
    sent = [command("create_batch", "one", BATCH), command("allocate", "two", LINE._asdict()), RUBBISH]
    topic_ids = {topic: f"id of {topic}" for topic in avro.COMMANDS}
    words = ("handled", "handled", "refused")
    return observation.Observation(
        prefix="",
        commands={record.at: record for record in sent},
        events=[event(1)],
        dead_letters=[dead_letter()],
        journal=[
            observation.Entry(1, word, one.topic, 0, one.offset, one.offset)
            for word, one in zip(words, sent, strict=True)
        ],
        journal_numbers=[1],
        stored_journal=[(1, [])],
        topic_ids=topic_ids,
        schema_ids=IDS,
        fates={
            ("test", "one"): observation.Fate("handled", None, None, sent[0].at),
            ("test", "two"): observation.Fate("handled", "b1", None, sent[1].at),
            ("kafka", "id of allocate/0/1"): observation.Fate("refused", None, "undecodable", RUBBISH.at),
        },
        lines={LINE: ("b1", 0)},
        batches={"b1": observation.BatchRow("LAMP", 10, 10, 3, None, 1)},
        products={"LAMP": (2, 1)},
        parked=[],
        unsent=0,
        hidden={},
        quarantined=[],
    )


def with_batch(**more: Any) -> Callable[[Observation], dict[str, Any]]:
    return lambda seen: {"batches": {"b1": seen.batches["b1"]._replace(**more)}}


LEAVES = event(2, topic="line_deallocated")
OTHER_LINE = model.Line("o2", "LAMP", 9)

# Each changes one thing, and names a check that must see it.
FAULTS: tuple[tuple[str, str, Callable[[Observation], dict[str, Any]]], ...] = (
    ("settled_once", "twice", lambda seen: {"journal": [*seen.journal, seen.journal[1]]}),
    ("settled_once", "never", lambda seen: {"journal": seen.journal[1:]}),
    ("handled_or_dead_lettered", "neither", lambda _: {"dead_letters": []}),
    ("handled_or_dead_lettered", "both", lambda seen: {"dead_letters": [*seen.dead_letters, dead_letter(0)]}),
    ("handled_or_dead_lettered", "dead twice", lambda seen: {"dead_letters": seen.dead_letters * 2}),
    ("handled_or_dead_lettered", "dead, never sent", lambda _: {"dead_letters": [dead_letter(), dead_letter(9)]}),
    ("handled_or_dead_lettered", "forgotten", lambda _: {"fates": {}}),
    ("dead_letters_are_originals", "changed", lambda _: {"dead_letters": [dead_letter(value=b"else")]}),
    ("events_once", "twice", lambda seen: {"events": seen.events * 2}),
    ("events_in_order", "a gap", lambda _: {"events": [event(2)]}),
    ("events_in_order", "behind a later one", lambda _: {"events": [event(2), event(1)]}),
    ("events_in_order", "in two partitions", lambda _: {"events": [event(1), event(2, partition=1)]}),
    ("events_have_causes", "of nobody", lambda _: {"events": [event(1, cause=b"nobody")]}),
    ("events_give_allocations", "lost", lambda _: {"events": []}),
    ("events_give_allocations", "gone from the database", lambda seen: {"lines": {}, **with_batch(allocated=0)(seen)}),
    ("events_give_allocations", "left again", lambda seen: {"events": [*seen.events, LEAVES]}),
    ("stock_adds_up", "no sum", with_batch(allocated=4)),
    ("stock_adds_up", "oversold", with_batch(purchased=2)),
    ("stock_adds_up", "miscounted", with_batch(line_count=2)),
    ("stock_adds_up", "of no batch", lambda seen: {"lines": {**seen.lines, OTHER_LINE: ("b2", 0)}}),
    ("nothing_left_over", "unsent", lambda _: {"unsent": 1}),
    ("nothing_left_over", "parked", lambda _: {"parked": [("sku:LAMP", "waiting", RUBBISH.at)]}),
    ("nothing_hidden", "an open transaction", lambda _: {"hidden": {("allocate", 0): (1, 2)}}),
    ("journal_is_complete", "twice on its topic", lambda _: {"journal_numbers": [1, 1]}),
    ("journal_is_complete", "not on its topic", lambda _: {"journal_numbers": []}),
    ("model_agrees", "another version", lambda _: {"products": {"LAMP": (3, 1)}}),
    ("model_agrees", "another batch", with_batch(purchased=11)),
    ("model_agrees", "another order", lambda seen: {"journal": [seen.journal[1], seen.journal[0], seen.journal[2]]}),
)  # fmt: skip


def test_what_is_sound_is_found_so() -> None:
    assert checks.violations(sound()) == []


@pytest.mark.parametrize(("check", "how", "change"), FAULTS, ids=[f"{check}: {how}" for check, how, _ in FAULTS])
def test_a_fault_is_seen_by_the_check_of_that_name(
    check: str, how: str, change: Callable[[Observation], dict[str, Any]]
) -> None:
    seen = sound()
    found = checks.violations(dataclasses.replace(seen, **change(seen)))
    assert check in {violation.check for violation in found}, how


def test_every_check_is_tried() -> None:
    assert {check for check, _, _ in FAULTS} == {check.__name__ for check in checks.CHECKS}


def test_the_oracle_imports_nothing_of_what_it_judges() -> None:
    ours = {name for file in Path(oracle.__file__).parent.glob("*.py") for name in imported(file)}
    assert {name for name in ours if name.split(".")[0] == "tests"} == {"tests.chaos.oracle"}
    assert "allocation" not in {name.split(".")[0] for name in ours}
    assert "confluent_kafka" in ours


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = node.module or ""
            yield "tests.chaos.oracle" if parent.startswith("tests.chaos.oracle") else parent
