"""Lines, batches, quantities and versions: one thing is changed, and is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.domain import commands
from allocation.service_layer.operations.verify import snapshot
from tests.unit.verify.world import A, B, C

if TYPE_CHECKING:
    from tests.unit.verify import world as builders


def test_a_line_in_another_batch_than_the_events_say_is_named(world: builders.World) -> None:
    world.lines[A] = world.lines[A]._replace(batchref="late", place=1)
    assert "lines: order o1, 3 of CHAIR is in batch late in the database, and in batch early by the events" in (
        world.findings()
    )


def test_a_line_that_no_event_tells_of_is_named(world: builders.World) -> None:
    world.lines[C] = snapshot.Placed("late", 1)
    (text,) = (text for text in world.findings() if text.startswith("lines"))
    assert (
        text
        == "lines: order o3, 3 of CHAIR is in batch late in the database, though no event says that it was allocated"
    )


def test_a_line_that_is_gone_from_the_database_is_named(world: builders.World) -> None:
    del world.lines[B]
    assert "lines: order o2, 3 of CHAIR is in batch late by the events, and in none in the database" in world.findings()


def test_a_batch_that_counts_wrongly_is_named(world: builders.World) -> None:
    world.batches["early"] = world.batches["early"]._replace(allocated=6, line_count=7)
    assert world.findings() == [
        "batches: batch early counts 6 allocated, and its lines need 3",
        "batches: batch early has 6 of 5 pieces allocated",
        "batches: batch early counts 7 lines, and has 1",
    ]


def test_gaps_among_the_places_of_a_batch_are_found(world: builders.World) -> None:
    world.lines[A] = world.lines[A]._replace(place=4)
    assert world.findings() == [
        "batches: batch early has gaps in the places of its lines: the 1 lines reach up to place 4"
    ]


def test_a_line_in_a_batch_of_another_sku_is_named(world: builders.World) -> None:
    world.created("of-tables", "TABLE", 5)
    world.lines[A] = snapshot.Placed("of-tables", 0)
    assert "batches: order o1, 3 of CHAIR is in batch of-tables, which is of sku TABLE" in world.findings()


def test_a_batch_without_a_product_is_named(world: builders.World) -> None:
    del world.products["CHAIR"]
    assert "batches: batch late has no product CHAIR" in world.findings()


def test_a_quantity_that_no_command_set_is_found(world: builders.World) -> None:
    world.batches["early"] = world.batches["early"]._replace(purchased=9)
    assert world.findings() == ["stock: batch early holds 9 in the database, and 5 by the last command about it"]


def test_of_several_changes_the_last_one_counts(world: builders.World) -> None:
    world.changed("early", 8)
    world.changed("early", 6)
    assert world.findings() == []
    world.batches["early"] = world.batches["early"]._replace(purchased=8)
    assert world.findings() == ["stock: batch early holds 8 in the database, and 6 by the last command about it"]


def test_a_batch_that_no_command_created_is_named(world: builders.World) -> None:
    world.batches["stray"] = snapshot.Batch("stray", "CHAIR", 1, 1, 0, None, 0)
    assert world.findings() == ["stock: batch stray is in the database, though no handled command created it"]


def test_a_batch_that_was_created_but_is_not_there_is_named(world: builders.World) -> None:
    world.created("third", "CHAIR", 1)
    del world.batches["third"]
    assert world.findings() == ["stock: batch third was created by a handled command, but is not in the database"]


def test_a_batch_with_another_eta_than_its_command_is_named(world: builders.World) -> None:
    world.batches["late"] = world.batches["late"]._replace(eta=None)
    assert world.findings() == [
        "stock: batch late is 4 of CHAIR, in the warehouse; by its command it is 4 of CHAIR, due on 2030-02-01"
    ]


def test_handled_commands_that_should_have_been_refused_are_named(world: builders.World) -> None:
    again, unknown = commands.CreateBatch("late", "CHAIR", 5), commands.ChangeBatchQuantity("none", 5)
    world.handled(world.sent(again))
    world.handled(world.sent(unknown))
    assert world.findings() == [
        "stock: batch late create_batch/0/2 was handled, though the batch was created otherwise before",
        "stock: batch none change_batch_quantity/0/1 was handled, though no batch of this name was created before",
    ]


def test_a_version_that_does_not_count_the_changes_is_found(world: builders.World) -> None:
    world.products["CHAIR"] = world.products["CHAIR"]._replace(version_number=8)
    assert world.findings() == ["versions: CHAIR has version 8, and 7 changes by commands and events"]
