"""A topic that was deleted and made anew is no longer the one that was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from allocation.adapters.kafka import assignment, placement, recognition, topics
from allocation.service_layer import ports
from tests import builders

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ALLOCATE, BATCHES = topics.TopicPartition("allocate", 0), topics.TopicPartition("create_batch", 0)
IDS = {"allocate": "id of allocate", "create_batch": "id of create_batch"}
RECORDS = [builders.a_record(topic="allocate"), builders.a_record(topic="create_batch")]


class FakePlaces:
    def __init__(self, found: Mapping[str, str] | None) -> None:
        self._found = found

    def topic_ids(self, _names: Collection[str]) -> Mapping[str, str]:
        if self._found is None:
            raise ports.DependencyDown("a test says so")
        return self._found


def recognising(found: Mapping[str, str] | None) -> tuple[recognition.Recognition, assignment.Assignment]:
    partitions = assignment.Assignment(pause=lambda _keys: None, on_placed=lambda _log: None)
    for key in (ALLOCATE, BATCHES):
        partitions.place(key, placement.Place(IDS[key.topic], 0, recognise=False))
    return recognition.Recognition(cast("placement.Placement", FakePlaces(found)), partitions), partitions


def test_records_of_the_topics_that_were_there_are_taken() -> None:
    topics_, partitions = recognising(IDS)
    assert topics_.of_the_same_topics(RECORDS) == RECORDS
    assert not partitions.unplaced


@pytest.mark.parametrize("found", [IDS | {"allocate": "another id"}, {"create_batch": IDS["create_batch"]}])
def test_nothing_is_taken_of_a_topic_that_is_another_now_or_gone(found: Mapping[str, str]) -> None:
    topics_, partitions = recognising(found)
    assert topics_.of_the_same_topics(RECORDS) == RECORDS[1:]
    assert partitions.unplaced == {ALLOCATE}


def test_what_cannot_be_told_to_be_of_the_same_topic_is_read_again() -> None:
    topics_, partitions = recognising(None)
    with pytest.raises(ports.DependencyDown):
        topics_.of_the_same_topics(RECORDS[:1])
    assert partitions.unplaced == {ALLOCATE}


@pytest.mark.parametrize(
    ("found", "unplaced"),
    [
        (IDS, set()),
        (IDS | {"allocate": "another id"}, {ALLOCATE}),
        ({"create_batch": IDS["create_batch"]}, set()),  # it may be on its way
        (None, set()),
    ],
    ids=["the same", "another", "gone", "not known"],
)
def test_in_quiet_times_a_topic_is_noticed_that_is_another_now(
    found: Mapping[str, str] | None, unplaced: set[topics.TopicPartition]
) -> None:
    topics_, partitions = recognising(found)
    topics_.look()
    assert partitions.unplaced == unplaced
