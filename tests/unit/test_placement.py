from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from allocation.adapters.kafka import placement, topics
from allocation.service_layer import messages, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

KEY = topics.TopicPartition("allocate", 0)
HANDLED_TO_10 = unit_of_work.Position("allocate", 10, 0, 9, b"digest")


def place(
    position: unit_of_work.Position | None,
    *,
    begin: int = 0,
    end: int = 20,
    committed: int | None = None,
    log: messages.LogPartition | None = None,
) -> placement.Place | placement.Misfit:
    stored = {} if position is None else {log or messages.LogPartition("topic-1", 0): position}
    return placement.place(KEY, "topic-1", stored, {KEY: topics.Watermarks(begin, end)}, committed)


def test_a_log_that_was_never_read_is_read_from_its_start() -> None:
    assert place(None, begin=3) == placement.Place("topic-1", 3, recognise=False)


@pytest.mark.parametrize("committed", [5, 20, 10**9])
def test_a_group_offset_that_was_moved_never_skips_what_was_not_handled(committed: int) -> None:
    assert place(None, committed=committed) == placement.Place("topic-1", 0, recognise=False)


def test_reading_goes_on_with_the_last_record_so_that_it_can_be_recognised() -> None:
    assert place(HANDLED_TO_10) == placement.Place("topic-1", 9, recognise=True)


@pytest.mark.parametrize("committed", [9, 10, 15, 20, 10**9])
def test_a_group_offset_that_was_moved_forward_loses_nothing(committed: int) -> None:
    assert place(HANDLED_TO_10, committed=committed) == placement.Place("topic-1", 9, recognise=True)


def test_a_group_offset_that_was_moved_back_is_followed() -> None:
    assert place(HANDLED_TO_10, committed=4) == placement.Place("topic-1", 4, recognise=False)


def test_a_group_offset_before_the_start_of_the_log_is_not_followed() -> None:
    assert place(HANDLED_TO_10, begin=6, committed=4) == placement.Place("topic-1", 9, recognise=True)


def test_a_last_record_that_retention_took_cannot_be_recognised() -> None:
    assert place(HANDLED_TO_10, begin=10) == placement.Place("topic-1", 10, recognise=False)


def test_a_log_whose_end_was_passed_over_goes_on_with_its_last_record() -> None:
    passed = HANDLED_TO_10._replace(next_offset=15)
    assert place(passed, end=15) == placement.Place("topic-1", 9, recognise=True)


def test_a_log_that_never_held_a_record_goes_on_behind_what_was_passed_over() -> None:
    passed = unit_of_work.Position("allocate", 2, 0, -1, b"")
    assert place(passed, end=2) == placement.Place("topic-1", 2, recognise=False)


@pytest.mark.parametrize(("begin", "end"), [(11, 20), (0, 9)], ids=["overtaken by retention", "truncated"])
def test_a_log_without_the_next_record_does_not_fit(begin: int, end: int) -> None:
    assert place(HANDLED_TO_10, begin=begin, end=end) == placement.Misfit(
        f"the log holds {begin} to {end}, but the next to handle is 10"
    )


def test_a_topic_that_was_made_anew_does_not_fit() -> None:
    where = place(HANDLED_TO_10, log=messages.LogPartition("topic-0", 0))
    assert where == placement.Misfit("the topic was re-created: its id is topic-1, handled so far was topic-0")


@pytest.mark.parametrize("number", [0, 1])
def test_no_partition_of_a_topic_that_was_made_anew_fits(number: int) -> None:
    assert isinstance(place(HANDLED_TO_10, log=messages.LogPartition("topic-0", number)), placement.Misfit)


class FakeAdmin:
    def describe(self, names: Collection[str]) -> Mapping[str, topics.TopicDescription]:
        return {name: topics.TopicDescription(f"id of {name}", 1) for name in names if name != "gone"}

    def watermarks(self, keys: Collection[topics.TopicPartition]) -> Mapping[topics.TopicPartition, topics.Watermarks]:
        return {key: topics.Watermarks(0, 5) for key in keys}


def test_partitions_are_placed_together_and_a_missing_topic_does_not_fit() -> None:
    places = placement.Placement(
        cast("topics.TopicAdmin", FakeAdmin()),
        names=("allocate", "gone"),
        stored=lambda: {
            messages.LogPartition("id of allocate", 0): HANDLED_TO_10._replace(next_offset=3, last_offset=2)
        },
    )
    gone = topics.TopicPartition("gone", 0)
    assert places.of([KEY, gone], {KEY: 1}) == {
        KEY: placement.Place("id of allocate", 1, recognise=False),
        gone: placement.Misfit("the topic does not exist any more"),
    }


def test_a_partition_that_was_added_begins_when_the_others_have_passed_the_ends_that_they_have_now() -> None:
    added, old = topics.TopicPartition("allocate", 1), messages.LogPartition("topic-1", 0)
    bounds = {KEY: topics.Watermarks(0, 20), added: topics.Watermarks(0, 3)}
    placed = placement.place(added, "topic-1", {old: HANDLED_TO_10}, bounds, None)
    assert placed == placement.Place("topic-1", 0, recognise=False, after={old: 20})


def test_another_topic_is_nothing_that_a_new_partition_waits_for() -> None:
    other = HANDLED_TO_10._replace(topic="create_batch")
    stored = {messages.LogPartition("topic-2", 0): other}
    placed = placement.place(KEY, "topic-1", stored, {KEY: topics.Watermarks(0, 3)}, None)
    assert placed == placement.Place("topic-1", 0, recognise=False)


ALLOCATE, BATCHES = topics.TopicPartition("allocate", 0), topics.TopicPartition("create_batch", 0)
BATCH_LOG = messages.LogPartition("id of create_batch", 0)


def in_turn(
    *keys: topics.TopicPartition, batches_handled: int | None = None
) -> Mapping[topics.TopicPartition, placement.Place | placement.Misfit]:
    stored = {}
    if batches_handled is not None:
        stored[BATCH_LOG] = unit_of_work.Position("create_batch", batches_handled, 0, batches_handled - 1, b"")
    places = placement.Placement(
        cast("topics.TopicAdmin", FakeAdmin()),
        names=("create_batch", "allocate"),
        stored=lambda: stored,
        first="create_batch",
    )
    return places.of(keys, {})


@pytest.mark.parametrize("handled", [None, 4])
def test_in_a_backlog_what_is_allocated_waits_for_the_batches_that_piled_up_with_it(handled: int | None) -> None:
    placed = in_turn(ALLOCATE, BATCHES, batches_handled=handled)
    assert placed[ALLOCATE] == placement.Place("id of allocate", 0, recognise=False, after={BATCH_LOG: 5})
    batches = placed[BATCHES]
    assert isinstance(batches, placement.Place)
    assert not batches.after


def test_where_all_batches_are_handled_nothing_waits() -> None:
    assert in_turn(ALLOCATE, BATCHES, batches_handled=5)[ALLOCATE] == placement.Place(
        "id of allocate", 0, recognise=False
    )


def test_nothing_waits_for_batches_that_are_not_this_workers_to_handle_or_cannot_be_handled() -> None:
    assert in_turn(ALLOCATE)[ALLOCATE] == placement.Place("id of allocate", 0, recognise=False)
    placed = in_turn(ALLOCATE, BATCHES, batches_handled=99)  # beyond the end: not the log that was handled
    assert isinstance(placed[BATCHES], placement.Misfit)
    assert placed[ALLOCATE] == placement.Place("id of allocate", 0, recognise=False)
