"""Histories made of what lies on topics, written down by hand."""

from __future__ import annotations

from datetime import timedelta

import pytest

from allocation.domain import commands
from allocation.service_layer import external_events, messages
from allocation.service_layer.operations import history, history_making, history_sources
from allocation.service_layer.operations.verify import events, snapshot
from tests.unit.verify import world as worlds

HOUR = timedelta(hours=1)


@pytest.fixture
def world() -> worlds.World:
    """Two batches, and a line that moves from one to the other an hour later."""
    world = worlds.World()
    world.created("early", "CHAIR", 10)
    world.created("late", "CHAIR", 4, worlds.LATER)
    world.created("other", "LAMP", 4)
    world.allocated("o1", "CHAIR", 3, "early")
    world.time += HOUR
    world.changed("early", 2, [(worlds.A, "late")])
    return world


def tell(world: worlds.World, kind: str, id_: str, sku: str | None = None) -> history.History:
    sources = history_sources.Sources(
        logs=worlds._Logs(world),  # noqa: SLF001 - the world's own
        topics=worlds.NAMES,
        reader=worlds.READER,
        on_progress=lambda _what, _done, _total: None,
    )
    reader = events.EventReader(topics=worlds.NAMES, deserializer=worlds.SERDE)
    return history_making.HistoryMaker(sources, events=reader).make(history.Subject(kind, id_, sku))


def told(found: history.History) -> list[str]:
    return [f"{step.what} {step.batchref} by {step.cause.id} {step.detail}".strip() for step in found.steps()]


def test_each_step_names_its_command_in_the_order_of_handling(world: worlds.World) -> None:
    assert told(tell(world, "batch", "early")) == [
        "created early by c1",
        "allocated early by c4",
        "changed early by c5",
        "deallocated early by c5 to late",
    ]
    assert told(tell(world, "order", "o1")) == [
        "allocated early by c4",
        "deallocated early by c5 to late",
        "allocated late by c5",
    ]
    assert tell(world, "order", "o1").steps()[0].cause.place == "allocate/0/0"


def test_the_state_is_that_of_the_time_that_is_asked_for(world: worlds.World) -> None:
    found = tell(world, "sku", "CHAIR")
    line = snapshot.Line(*worlds.A)
    before, after = found.state(until=worlds.TIME), found.state()
    assert (before.placed, after.placed) == ({line: "early"}, {line: "late"})
    assert [(one.purchased, one.allocated) for one in before.batches.values()] == [(10, 3), (4, 0)]
    assert [(one.purchased, one.allocated) for one in after.batches.values()] == [(2, 0), (4, 3)]
    assert list(found.states([worlds.TIME, worlds.TIME + HOUR])) == [before, after]
    assert found.state(until=worlds.TIME - HOUR) == history.State()


def test_what_changed_nothing_is_told_as_such(world: worlds.World) -> None:
    world.handled(world.sent(commands.Allocate("o1", "CHAIR", 3), id="again"))
    world.handled(world.sent(commands.CreateBatch("early", "CHAIR", 10), id="again-2"))
    world.journaled("duplicate", world.sent(commands.Allocate("o1", "CHAIR", 3), id="c4"))
    world.refused(world.sent(commands.Allocate("o9", "CHAIR", 1), id="bad"), "discarded", what="refused")
    world.sent(commands.Allocate("o8", "CHAIR", 1), id="new")
    found = tell(world, "sku", "CHAIR")
    words = {step.cause.id: step.what for step in found.everything}
    assert (words["again"], words["bad"]) == ("no change", "refused")
    assert [step.what for step in found.everything].count("duplicate") == 1
    assert [step.what for step in tell(world, "order", "o8").steps()] == ["pending"]
    assert found.state().placed[snapshot.Line(*worlds.A)] == "late"
    assert [one.purchased for one in found.state().batches.values()] == [2, 4]


def test_a_line_that_found_no_room_anywhere_says_so(world: worlds.World) -> None:
    world.changed("late", 1, [(worlds.A, None)])
    found = tell(world, "order", "o1")
    assert told(found)[-2:] == ["deallocated late by c6 no other batch has room", "out of stock None by c6"]
    assert found.state().unplaced == {snapshot.Line(*worlds.A): "out of stock"}


def test_events_without_their_command_and_strange_ones_are_told_as_far_as_they_go(world: worlds.World) -> None:
    world.begins["allocate"] = 1
    world.topics["allocate"].clear()
    cause = world.sent(commands.Allocate("o2", "CHAIR", 1), id="gone")
    world.topics["allocate"].clear()
    world.announced(external_events.OutOfStock("CHAIR", "o2", 1), cause)
    strange = messages.OutboxMessage(worlds.NAMES.out_of_stock, b"CHAIR", b"junk", ())
    world.append(strange)
    found = tell(world, "sku", "CHAIR")
    assert history.Cause("gone") in [step.cause for step in found.steps()]
    assert "begins at offset 1: what was before is not told" in found.notes[0]
    assert "out_of_stock/0/1 is no event of this service" in found.notes[1]


def test_a_resent_event_is_told_once(world: worlds.World) -> None:
    first = world.topics["line_allocated"][0]
    world.append(messages.OutboxMessage(first.topic, first.key, first.value, (*first.headers, (messages.RESENT, b"1"))))
    assert len(tell(world, "order", "o1").steps()) == 3


def test_of_an_order_the_lines_of_one_sku_may_be_asked_for(world: worlds.World) -> None:
    world.allocated("o1", "LAMP", 1, "other")
    assert len(tell(world, "order", "o1").steps()) == 4
    lamp = tell(world, "order", "o1", "LAMP")
    assert [step.batchref for step in lamp.steps()] == ["other"]
    assert [*lamp.state().placed] == [snapshot.Line("o1", "LAMP", 1)]


def test_nothing_is_known_of_what_no_command_names(world: worlds.World) -> None:
    assert tell(world, "order", "o9").steps() == []
    assert tell(world, "batch", "none").steps() == []
    assert tell(world, "sku", "SOFA").steps() == []
