"""Where the partitions of a worker stand, and what is taken of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import confluent_kafka
import pytest

from allocation.adapters.kafka import assignment, placement, topics
from allocation.service_layer import messages, signals

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

ALLOCATE, OTHER, BATCHES = (
    topics.TopicPartition("allocate", 0),
    topics.TopicPartition("allocate", 1),
    topics.TopicPartition("create_batch", 0),
)
LOST = confluent_kafka.KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 - librdkafka's own codes begin so
END = confluent_kafka.KafkaError._PARTITION_EOF  # noqa: SLF001 - see above


class Partitions(assignment.Assignment):
    """Remembers what the client was told to pause, and which logs are read anew."""

    def __init__(self) -> None:
        self.paused: list[assignment.Key] = []
        self.placed: list[messages.LogPartition] = []
        super().__init__(pause=self.paused.extend, on_placed=self.placed.append)

    def take_offsets(self, *fetched: confluent_kafka.Message) -> list[int]:
        records, errors = self.take(fetched)
        assert errors == []
        return [record.offset for record in records]


def placed(
    *keys: assignment.Key, offset: int = 10, recognise: bool = False, after: Collection[assignment.Key] = ()
) -> Partitions:
    found = Partitions()
    waits_for = {a_log(key): 20 for key in after}
    for key in keys:
        found.place(key, placement.Place(f"id of {key.topic}", offset, recognise=recognise, after=waits_for))
    return found


def a_log(key: assignment.Key) -> messages.LogPartition:
    return messages.LogPartition(f"id of {key.topic}", key.partition)


def of(key: assignment.Key, *offsets: int) -> Iterable[confluent_kafka.Message]:
    return [
        confluent_kafka.Message(topic=key.topic, partition=key.partition, offset=offset, timestamp=(1, 0))
        for offset in offsets
    ]


def error_of(key: assignment.Key, code: int, *, offset: int = -1) -> confluent_kafka.Message:
    error = confluent_kafka.KafkaError(code)
    return confluent_kafka.Message(topic=key.topic, partition=key.partition, offset=offset, error=error)


def test_a_record_carries_all_that_kafka_tells_of_it() -> None:
    message = confluent_kafka.Message(
        topic="allocate",
        partition=1,
        offset=10,
        key=b"LAMP",
        value=b"value",
        headers=[("ce_id", b"1")],
        timestamp=(1, 1234),
        leader_epoch=3,
    )
    records, _ = placed(OTHER).take([message])
    assert records == [
        messages.Record("allocate", "id of allocate", 1, 10, 3, b"LAMP", b"value", (("ce_id", b"1"),), 1234)
    ]
    assert isinstance(records[0], messages.Record)


def test_offsets_that_are_no_records_are_passed_over() -> None:
    assert placed(ALLOCATE).take_offsets(*of(ALLOCATE, 10, 11, 14)) == [10, 11, 14]


def test_nothing_is_taken_of_a_partition_that_is_not_there_any_more() -> None:
    partitions = placed(ALLOCATE, OTHER)
    partitions.forget(ALLOCATE)
    assert partitions.take_offsets(*of(ALLOCATE, 10), *of(OTHER, 10)) == [10]


def test_what_lies_before_the_record_that_was_taken_last_has_its_partition_placed_anew() -> None:
    partitions = placed(ALLOCATE, OTHER)
    assert partitions.take_offsets(*of(ALLOCATE, 10, 11, 10, 12), *of(OTHER, 10)) == [10, 11, 10]
    assert partitions.unplaced == {ALLOCATE}
    assert partitions.paused == [ALLOCATE]
    partitions.place(ALLOCATE, placement.Place("another id", 5, recognise=False))
    assert partitions.take_offsets(*of(ALLOCATE, 5)) == [5]
    assert partitions.placed == [a_log(ALLOCATE), a_log(OTHER), messages.LogPartition("another id", 0)]


def test_a_log_that_the_client_lost_is_placed_anew() -> None:
    partitions = placed(ALLOCATE)
    assert partitions.take_offsets(error_of(ALLOCATE, LOST), *of(ALLOCATE, 10)) == []
    assert partitions.unplaced == {ALLOCATE}


def test_the_record_that_was_handled_last_is_recognised_by_its_place() -> None:
    assert placed(ALLOCATE, recognise=True).take_offsets(*of(ALLOCATE, 10, 12)) == [10, 12]


def test_a_log_without_the_record_that_was_handled_last_is_set_aside() -> None:
    partitions = placed(ALLOCATE, OTHER, recognise=True)
    assert partitions.take_offsets(*of(ALLOCATE, 11, 12), *of(OTHER, 10)) == [10]
    problem = "the record at offset 10, which was handled last, is no longer there"
    assert partitions.partitions(committed={OTHER: 11}) == signals.Partitions(
        assigned=2, set_aside={"allocate/0": problem}, committed={("allocate", 1): 11}
    )
    assert partitions.paused == [ALLOCATE]


def test_what_is_set_aside_stays_so_whatever_comes_of_it() -> None:
    partitions = Partitions()
    partitions.place(ALLOCATE, placement.Misfit("a test says so"))
    assert partitions.take_offsets(error_of(ALLOCATE, LOST), error_of(ALLOCATE, END), *of(ALLOCATE, 10)) == []
    partitions.look_again_at(["allocate"])
    assert (partitions.aside, partitions.unplaced) == ({ALLOCATE: "a test says so"}, set())
    assert list(partitions.take_ends()) == []


def test_a_partition_that_is_held_begins_at_its_place_once_it_is_let_go() -> None:
    partitions = placed(ALLOCATE, after=[BATCHES])
    assert partitions.take_offsets(*of(ALLOCATE, 10, 11)) == []
    assert partitions.partitions(committed={}).held == ("allocate/0",)
    assert partitions.paused == [ALLOCATE]
    partitions.let_go(ALLOCATE)
    assert partitions.take_offsets(*of(ALLOCATE, 10, 11)) == [10, 11]


def test_the_end_of_a_partition_that_is_held_passes_over_nothing() -> None:
    partitions = placed(ALLOCATE, after=[BATCHES])
    assert partitions.take_offsets(*of(ALLOCATE, 10), error_of(ALLOCATE, END, offset=11)) == []
    assert list(partitions.take_ends()) == []


def test_the_end_of_a_log_is_told_once_with_what_was_taken_last() -> None:
    partitions = placed(ALLOCATE)
    partitions.take_offsets(*of(ALLOCATE, 10), error_of(ALLOCATE, END, offset=14))
    assert list(partitions.take_ends()) == [messages.LogEnd("allocate", a_log(ALLOCATE), 11, 14)]
    assert list(partitions.take_ends()) == []


def test_no_end_is_told_of_a_log_that_is_placed_anew() -> None:
    partitions = placed(ALLOCATE, OTHER)
    partitions.take_offsets(error_of(ALLOCATE, END, offset=10), error_of(OTHER, END, offset=10))
    partitions.look_again([ALLOCATE])
    assert [end.log for end in partitions.take_ends()] == [a_log(OTHER)]


@pytest.mark.parametrize(("aside", "awaited"), [(BATCHES, {}), (OTHER, {a_log(BATCHES): 20})])
def test_a_log_of_another_topic_that_is_set_aside_holds_up_nothing(
    aside: assignment.Key, awaited: dict[messages.LogPartition, int]
) -> None:
    partitions = placed(ALLOCATE, after=[BATCHES])
    for key in (BATCHES, OTHER):
        partitions.place(key, placement.Place(f"id of {key.topic}", 0, recognise=False))
    partitions.set_aside(aside, "a test says so")
    assert partitions.awaited() == {ALLOCATE: awaited}


def test_a_log_of_the_same_topic_holds_up_those_added_to_it_although_it_is_set_aside() -> None:
    partitions = placed(OTHER, after=[ALLOCATE])
    partitions.place(ALLOCATE, placement.Place("id of allocate", 0, recognise=False))
    partitions.set_aside(ALLOCATE, "a test says so")
    assert partitions.awaited() == {OTHER: {a_log(ALLOCATE): 20}}


def test_all_partitions_of_a_topic_are_placed_anew_and_no_others() -> None:
    partitions = placed(ALLOCATE, OTHER, BATCHES)
    partitions.look_again_at(["allocate"])
    assert partitions.unplaced == {ALLOCATE, OTHER}
    assert partitions.flowing.keys() == {BATCHES}


def test_an_error_of_no_partition_is_handed_on() -> None:
    message = error_of(ALLOCATE, confluent_kafka.KafkaError._FATAL)  # noqa: SLF001 - see above
    assert placed(ALLOCATE).take([message]) == ([], [message])
