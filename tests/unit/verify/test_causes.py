"""Commands and events: one does not follow from the other, and is named."""

from __future__ import annotations

from allocation.domain import commands
from allocation.service_layer import external_events
from tests.unit.verify import world as builders
from tests.unit.verify.world import B


def test_an_event_that_no_command_caused_is_named(world: builders.World) -> None:
    stranger = builders.World().sent(commands.Allocate("o5", "CHAIR", 1), id="stranger")
    world.announced(external_events.OutOfStock("CHAIR", "o5", 1), stranger)
    assert world.findings() == [
        "causes: out_of_stock/0/1 event 6 of CHAIR was caused by stranger, which is no handled command"
    ]


def test_an_event_of_another_line_than_its_command_asks_for_is_named(world: builders.World) -> None:
    cause = world.sent(commands.Allocate("o5", "CHAIR", 1), id="c9")
    world.handled(cause, result="late")
    world.announced(external_events.OutOfStock("CHAIR", "o6", 1), cause)
    assert "causes: out_of_stock/0/1 event 6 of CHAIR was caused by c9, which is another command" in world.findings()


def test_a_line_that_is_taken_off_and_never_heard_of_again_is_named(world: builders.World) -> None:
    cause = world.changed("late", 0)
    world.announced(external_events.LineDeallocated(*B, "late"), cause)
    text = f"causes: order o2, 3 of CHAIR command {cause.id.id} took it off a batch without a word of where to"
    assert text in world.findings()


def test_an_outcome_that_no_event_tells_of_is_named(world: builders.World) -> None:
    world.handled(world.sent(commands.Allocate("o5", "CHAIR", 1), id="c8"), result="late")
    world.handled(world.sent(commands.Allocate("o6", "CHAIR", 1), id="c9"))
    assert world.findings() == [
        "causes: allocate/0/3 command c8 got late for order o5, 1 of CHAIR by the inbox, and no event says so",
        "causes: allocate/0/4 command c9 found order o6, 1 of CHAIR out of stock by the inbox, and no event says so",
    ]


def test_the_same_line_asked_for_again_needs_no_event(world: builders.World) -> None:
    world.handled(world.sent(commands.Allocate("o1", "CHAIR", 3)), result="early")
    world.handled(world.sent(commands.CreateBatch("early", "CHAIR", 10)))
    world.handled(world.sent(commands.ChangeBatchQuantity("early", 5)))
    assert world.findings() == []


def test_an_event_that_follows_from_a_new_batch_is_named(world: builders.World) -> None:
    cause = world.created("third", "CHAIR", 5, id="batch")
    world.announced(external_events.OutOfStock("CHAIR", "o6", 1), cause)
    assert world.findings() == [
        "causes: out_of_stock/0/1 event 6 of CHAIR was caused by batch, which is another command"
    ]
