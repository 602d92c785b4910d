import datetime

import pytest

from allocation.domain import commands, events, model, refusal
from tests.builders import LATER, TODAY, TOMORROW, a_batch, a_line, a_product


def test_allocating_a_line_reduces_what_is_available() -> None:
    batch = a_batch(qty=20)
    batch.allocate(a_line(qty=2))
    assert (batch.available_quantity, batch.allocated_quantity) == (18, 2)


@pytest.mark.parametrize(("available", "wanted", "fits"), [(20, 2, True), (2, 2, True), (1, 2, False)])
def test_a_line_fits_when_enough_is_available_for_the_whole_of_it(available: int, wanted: int, fits: bool) -> None:  # noqa: FBT001
    assert a_batch(qty=available).can_allocate(a_line(qty=wanted)) is fits


def test_a_line_of_another_sku_does_not_fit() -> None:
    assert not a_batch(sku="LAMP").can_allocate(a_line(sku="TABLE"))


def test_the_same_line_is_allocated_to_a_batch_once() -> None:
    batch, line = a_batch(qty=20), a_line(qty=2)
    batch.allocate(line)
    batch.allocate(line)
    assert batch.available_quantity == 18


def test_lines_of_one_order_and_sku_with_different_quantities_are_two_lines() -> None:
    batch = a_batch(qty=20)
    batch.allocate(a_line(orderid="o1", qty=2))
    batch.allocate(a_line(orderid="o1", qty=3))
    assert batch.allocated_quantity == 5


def test_the_most_recently_allocated_line_is_taken_off_first() -> None:
    first, second = a_line(), a_line()
    batch = a_batch(lines=[first, second])
    assert (batch.deallocate_one(), batch.deallocate_one()) == (second, first)
    assert batch.allocated_quantity == 0


def test_batches_are_equal_by_reference() -> None:
    assert a_batch("b1", qty=1) == a_batch("b1", qty=2)
    assert a_batch("b1") != a_batch("b2")
    assert len({a_batch("b1"), a_batch("b1")}) == 1
    assert a_batch("b1") != "b1"


def test_stock_in_the_warehouse_is_preferred_to_shipments_whenever_they_come() -> None:
    warehouse, ancient = a_batch("warehouse", eta=None), a_batch("ancient", eta=datetime.date.min)
    assert a_product(ancient, warehouse).allocate(a_line()) == "warehouse"


def test_of_shipments_the_earliest_is_preferred() -> None:
    later, tomorrow, today = a_batch("c", eta=LATER), a_batch("b", eta=TOMORROW), a_batch("a", eta=TODAY)
    assert a_product(later, today, tomorrow).allocate(a_line()) == "a"


def test_ties_are_decided_by_batch_reference() -> None:
    assert a_product(a_batch("b2", eta=TODAY), a_batch("b1", eta=TODAY)).allocate(a_line()) == "b1"
    assert a_product(a_batch("w2"), a_batch("w1")).allocate(a_line()) == "w1"


def test_a_line_goes_whole_to_the_first_batch_that_has_room_for_it() -> None:
    product = a_product(a_batch("small", qty=5), a_batch("large", qty=50, eta=TOMORROW))
    assert product.allocate(a_line(qty=6)) == "large"


def test_an_allocation_is_an_event_and_raises_the_version() -> None:
    product = a_product(a_batch("b1"))
    product.allocate(a_line(orderid="o1", qty=3))
    assert product.events == [events.Allocated("o1", "LAMP", 3, "b1")]
    assert product.version_number == 1


def test_a_line_that_has_a_batch_keeps_it_and_nothing_is_announced() -> None:
    late = a_batch("late", eta=LATER)
    product = a_product(late)
    line = a_line()
    product.allocate(line)
    product.add_batch(a_batch("warehouse"))
    product.events.clear()
    version = product.version_number
    assert product.allocate(line) == "late"
    assert product.events == []
    assert product.version_number == version


def test_without_room_the_line_stays_unallocated_and_the_version_as_it_is() -> None:
    product = a_product(a_batch(qty=5))
    assert product.allocate(a_line(orderid="o1", qty=6)) is None
    assert product.events == [events.OutOfStock("LAMP", "o1", 6)]
    assert product.version_number == 0


def test_a_line_that_found_no_room_is_tried_again() -> None:
    product, line = a_product(a_batch("b1", qty=5)), a_line(qty=6)
    product.allocate(line)
    product.change_batch_quantity("b1", 6)
    assert product.allocate(line) == "b1"


def test_adding_a_batch_raises_the_version() -> None:
    product = a_product()
    product.add_batch(a_batch())
    assert product.version_number == 1


def test_the_same_batch_again_changes_nothing_even_after_its_quantity_was_changed() -> None:
    product = a_product()
    product.add_batch(a_batch("b1", qty=10, eta=TODAY))
    product.change_batch_quantity("b1", 7)
    product.add_batch(a_batch("b1", qty=10, eta=TODAY))
    assert product.version_number == 2
    assert [batch.purchased_quantity for batch in product.batches] == [7]


@pytest.mark.parametrize(("qty", "eta"), [(11, TODAY), (10, None), (10, TOMORROW), (7, TODAY)])
def test_a_reference_with_another_quantity_or_eta_is_a_conflict(qty: int, eta: datetime.date | None) -> None:
    product = a_product(a_batch("b1", qty=10, eta=TODAY))
    product.change_batch_quantity("b1", 7)
    with pytest.raises(refusal.Conflict, match="batch b1 of LAMP was created with qty 10 and eta 2030-01-01"):
        product.add_batch(a_batch("b1", qty=qty, eta=eta))


def test_the_same_quantity_again_changes_nothing() -> None:
    product = a_product(a_batch("b1", qty=10))
    product.change_batch_quantity("b1", 10)
    assert product.version_number == 0


def test_changing_an_unknown_batch_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        a_product().change_batch_quantity("nowhere", 1)


def test_a_reduction_that_fits_moves_no_line() -> None:
    product = a_product(a_batch("b1", qty=10, lines=[a_line(qty=4)]))
    product.change_batch_quantity("b1", 4)
    assert product.events == []
    assert product.version_number == 1


def test_lines_are_taken_off_the_most_recent_first_until_nothing_is_oversold_and_then_asked_for_again() -> None:
    batch = a_batch("b1", qty=60, lines=[a_line(orderid=f"o{n}", qty=20) for n in (1, 2, 3)])
    product = a_product(batch, a_batch("b2", eta=TOMORROW))
    product.change_batch_quantity("b1", 25)
    assert product.events == [
        events.Deallocated("o3", "LAMP", 20, "b1"),
        events.Deallocated("o2", "LAMP", 20, "b1"),
        commands.Allocate("o3", "LAMP", 20),
        commands.Allocate("o2", "LAMP", 20),
    ]
    assert batch.allocated_quantity == 20
    assert product.version_number == 3


def test_a_batch_may_shrink_to_nothing() -> None:
    batch = a_batch("b1", qty=2, lines=[a_line(qty=2)])
    a_product(batch).change_batch_quantity("b1", 0)
    assert (batch.available_quantity, batch.lines) == (0, ())


def test_a_batch_restored_with_a_part_of_its_lines_keeps_its_totals() -> None:
    line = a_line(qty=3)
    batch = model.Batch.restore("b1", "LAMP", 10, TODAY, purchased=9, allocated=8, lines=[line])
    assert (batch.created_quantity, batch.available_quantity, batch.lines) == (10, 1, (line,))
    assert repr(batch) == "<Batch b1>"


def test_a_product_names_itself_and_its_version() -> None:
    assert repr(a_product(a_batch())) == "<Product LAMP version 0>"
