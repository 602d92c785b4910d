from __future__ import annotations

import pytest

from allocation.domain import commands, refusal
from allocation.service_layer import external_events, handlers, messagebus
from tests import builders
from tests.fakes import unit_of_work as fakes


@pytest.fixture
def database() -> fakes.FakeDatabase:
    return fakes.FakeDatabase()


def handle(database: fakes.FakeDatabase, *given: commands.Command) -> list[str | None]:
    """Handle commands in one unit of work; return what their handlers returned."""
    with database.begin() as uow:
        uow.claim([builders.a_message(command) for command in given])
        bus = messagebus.MessageBus(uow)
        results = [bus.handle(command) for command in given]
        uow.commit()
    return results


def announced(database: fakes.FakeDatabase, *given: commands.Command) -> list[external_events.ExternalEvent]:
    with database.begin() as uow:
        uow.claim([builders.a_message(command) for command in given])
        bus = messagebus.MessageBus(uow)
        for command in given:
            bus.handle(command)
        uow.commit()
        return list(uow.take_announced())


def available(database: fakes.FakeDatabase, sku: str = "LAMP") -> dict[str, int]:
    return {batch.reference: batch.available_quantity for batch in database.state.products[sku].batches}


def test_a_batch_of_a_new_sku_makes_the_product(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 10))
    assert available(database) == {"b1": 10}
    assert database.state.products["LAMP"].version_number == 1


def test_a_batch_of_a_known_sku_is_added_to_it(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 10))
    handle(database, commands.CreateBatch("b2", "LAMP", 5, builders.TODAY))
    assert available(database) == {"b1": 10, "b2": 5}


def test_the_same_batch_again_changes_nothing(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 10), commands.Allocate("o1", "LAMP", 3))
    assert announced(database, commands.CreateBatch("b1", "LAMP", 10)) == []
    assert available(database) == {"b1": 7}
    assert database.state.products["LAMP"].version_number == 2


def test_a_reference_of_another_sku_is_a_conflict_that_makes_no_product(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 10))
    with pytest.raises(refusal.Conflict, match="batch b1 is of sku LAMP, not of TABLE"):
        handle(database, commands.CreateBatch("b1", "TABLE", 10))
    assert database.state.products.keys() == {"LAMP"}


def test_a_reference_of_two_skus_in_one_unit_of_work_is_a_conflict(database: fakes.FakeDatabase) -> None:
    with pytest.raises(refusal.Conflict, match="batch b1 is of sku LAMP, not of TABLE"):
        handle(database, commands.CreateBatch("b1", "LAMP", 10), commands.CreateBatch("b1", "TABLE", 10))


def test_a_reference_with_another_quantity_is_a_conflict(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 10))
    with pytest.raises(refusal.Conflict, match="batch b1 of LAMP was created with qty 10 and eta None, not with qty 9"):
        handle(database, commands.CreateBatch("b1", "LAMP", 9))


def test_allocate_returns_the_batch_and_announces_it(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 10))
    assert announced(database, commands.Allocate("o1", "LAMP", 3)) == [
        external_events.LineAllocated("o1", "LAMP", 3, "b1")
    ]
    assert handle(database, commands.Allocate("o2", "LAMP", 3)) == ["b1"]


def test_the_same_line_again_gets_the_same_answer_and_announces_nothing(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 10, builders.LATER), commands.Allocate("o1", "LAMP", 3))
    handle(database, commands.CreateBatch("b0", "LAMP", 10))
    assert announced(database, commands.Allocate("o1", "LAMP", 3)) == []
    assert handle(database, commands.Allocate("o1", "LAMP", 3)) == ["b1"]


def test_an_unknown_sku_is_refused_by_name(database: fakes.FakeDatabase) -> None:
    with pytest.raises(handlers.InvalidSku, match=r"^Invalid sku NO-SUCH$"):
        handle(database, commands.Allocate("o1", "NO-SUCH", 1))


def test_out_of_stock_is_announced_and_no_error(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 2))
    assert announced(database, commands.Allocate("o1", "LAMP", 3)) == [external_events.OutOfStock("LAMP", "o1", 3)]
    assert handle(database, commands.Allocate("o1", "LAMP", 3)) == [None]


def test_a_line_that_found_no_room_is_tried_again(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 2), commands.Allocate("o1", "LAMP", 3))
    handle(database, commands.CreateBatch("b2", "LAMP", 5))
    assert handle(database, commands.Allocate("o1", "LAMP", 3)) == ["b2"]


@pytest.mark.parametrize("sku", [None, "LAMP"])
def test_a_shrunken_batch_gives_its_latest_lines_to_the_next_one(database: fakes.FakeDatabase, sku: str | None) -> None:
    handle(
        database,
        commands.CreateBatch("b1", "LAMP", 50),
        commands.CreateBatch("b2", "LAMP", 20, builders.TODAY),
        commands.Allocate("o1", "LAMP", 20),
        commands.Allocate("o2", "LAMP", 20),
        commands.Allocate("o3", "LAMP", 5),
    )
    assert announced(database, commands.ChangeBatchQuantity("b1", 25, sku)) == [
        external_events.LineDeallocated("o3", "LAMP", 5, "b1"),
        external_events.LineDeallocated("o2", "LAMP", 20, "b1"),
        external_events.LineAllocated("o3", "LAMP", 5, "b1"),
        external_events.LineAllocated("o2", "LAMP", 20, "b2"),
    ]
    assert available(database) == {"b1": 0, "b2": 0}


def test_a_line_that_fits_nowhere_any_more_is_out_of_stock(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 5), commands.Allocate("o1", "LAMP", 5))
    assert announced(database, commands.ChangeBatchQuantity("b1", 4)) == [
        external_events.LineDeallocated("o1", "LAMP", 5, "b1"),
        external_events.OutOfStock("LAMP", "o1", 5),
    ]


def test_the_same_quantity_again_changes_nothing(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 5))
    handle(database, commands.ChangeBatchQuantity("b1", 5))
    assert database.state.products["LAMP"].version_number == 1


def test_an_unknown_batch_is_refused_by_reference(database: fakes.FakeDatabase) -> None:
    with pytest.raises(handlers.UnknownBatch, match=r"^Unknown batch nowhere$"):
        handle(database, commands.ChangeBatchQuantity("nowhere", 1))


def test_a_batch_of_another_sku_than_the_sender_thinks_is_a_conflict(database: fakes.FakeDatabase) -> None:
    handle(database, commands.CreateBatch("b1", "LAMP", 5))
    with pytest.raises(refusal.Conflict, match="batch b1 is of sku LAMP, not of TABLE"):
        handle(database, commands.ChangeBatchQuantity("b1", 1, "TABLE"))
    assert available(database) == {"b1": 5}


def test_refusals_have_words_that_programs_may_depend_on() -> None:
    refusals = (handlers.InvalidSku, handlers.UnknownBatch, refusal.Conflict, refusal.Invalid)
    assert [kind.reason for kind in refusals] == ["invalid_sku", "unknown_batch", "conflict", "invalid"]
