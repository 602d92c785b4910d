"""What an operator decides where a log is not the one that the database knows."""

from __future__ import annotations

import pytest

from allocation.service_layer import messages, unit_of_work
from allocation.service_layer.operations import positions
from allocation.service_layer.operations.replay import ports
from allocation.service_layer.operations.verify import ports as verify
from tests.unit.replay.world import AT, LOG, NOTE, World

OTHER = ports.TopicPartition("allocate", 1)
OLD = messages.LogPartition("an old id", 0)


def examined(
    outside: World,
    at: ports.TopicPartition = AT,
    *,
    begin: int = 0,
    end: int = 20,
    problem: str | None = "it does not fit",
    gone: tuple[messages.LogPartition, ...] = (),
) -> positions.Examined:
    log = messages.LogPartition(f"id of {at.topic}", at.partition)
    bounds = verify.Bounds(log.topic_id, begin, end)
    return positions.Examined(at=at, bounds=bounds, position=outside.positions().get(log), problem=problem, gone=gone)


def desk(outside: World, *found: positions.Examined) -> positions.Positions:
    return positions.Positions(examine=lambda: found, begin=outside.begin)


@pytest.fixture
def outside() -> World:
    there = World()
    there.database.state.positions[LOG] = unit_of_work.Position("allocate", 10, 0, 9, b"digest")
    return there


@pytest.mark.parametrize(
    ("begin", "end", "where", "next_offset", "skipped"),
    [
        (12, 20, "begin", 12, None),  # retention overtook it
        (12, 20, "end", 20, (12, 19)),
        (0, 7, "end", 7, None),  # truncated
        (0, 20, 15, 15, (10, 14)),  # another log up to where it was handled
        (0, 20, 3, 3, None),
    ],
)
def test_a_log_is_taken_as_it_is_and_the_journal_says_what_is_passed_over(
    outside: World,
    begin: int,
    end: int,
    where: positions.Where,
    next_offset: int,
    skipped: tuple[int, int] | None,
) -> None:
    found = examined(outside, begin=begin, end=end)
    (decided,) = desk(outside, found).decide("allocate", where, NOTE, what="adopted")
    assert decided == positions.Decided(AT, 10, next_offset)
    assert outside.positions() == {LOG: unit_of_work.Position("allocate", next_offset, 0, -1, b"")}
    entries = [] if skipped is None else [(unit_of_work.JournalEntry("skipped", *AT, *skipped),)]
    assert outside.database.state.journal == entries
    assert [(entry.what, entry.subject) for entry in outside.audited] == [
        ("position.adopted", f"allocate/0 from offset 10 to offset {next_offset}")
    ]


def test_the_positions_of_a_topic_that_is_gone_are_forgotten(outside: World) -> None:
    outside.database.state.positions = {OLD: outside.positions()[LOG]}
    found = examined(outside, end=4, gone=(OLD,))
    (decided,) = desk(outside, found).decide("allocate", "end", NOTE, what="adopted")
    assert decided.before is None
    assert {log: position.next_offset for log, position in outside.positions().items()} == {LOG: 4}
    assert outside.database.state.journal == [(unit_of_work.JournalEntry("skipped", *AT, 0, 3),)]


def test_only_what_does_not_fit_is_touched_and_only_what_is_named(outside: World) -> None:
    found = (examined(outside, problem=None), examined(outside, OTHER), examined(outside, OTHER._replace(partition=2)))
    tried = desk(outside, *found).decide("allocate", "begin", NOTE, what="restarted", dry_run=True)
    assert [decided.at.partition for decided in tried] == [1, 2]
    assert outside.audited == []
    named = desk(outside, *found).decide("allocate", "begin", NOTE, what="restarted", partitions=[2])
    assert [decided.at.partition for decided in named] == [2]
    assert outside.positions()[LOG].next_offset == 10


@pytest.mark.parametrize(
    ("topic", "where", "partitions", "why"),
    [
        ("orders", "begin", [], "orders is no command topic"),
        ("allocate", 21, [], "holds offsets 0 to 20; there is no 21"),
        ("allocate", "end", [1], "no partition 1"),
    ],
)
def test_what_cannot_be_decided_is_refused(
    outside: World, topic: str, where: positions.Where, partitions: list[int], why: str
) -> None:
    with pytest.raises(ports.CannotReplay, match=why):
        desk(outside, examined(outside)).decide(topic, where, NOTE, what="adopted", partitions=partitions)


def test_where_all_fits_or_there_is_no_topic_nothing_can_be_decided(outside: World) -> None:
    with pytest.raises(ports.CannotReplay, match="the positions fit"):
        desk(outside, examined(outside, problem=None)).decide("allocate", "end", NOTE, what="adopted")
    gone = positions.Examined(at=AT, bounds=None, position=None, problem="the topic does not exist any more")
    with pytest.raises(ports.CannotReplay, match="allocation init"):
        desk(outside, gone).decide("allocate", "end", NOTE, what="adopted")
