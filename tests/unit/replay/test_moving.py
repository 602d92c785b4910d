"""Where a replay goes back to, what it would cover, and what moving the group does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from allocation.service_layer import ports as service_ports
from allocation.service_layer.operations import audit, status
from allocation.service_layer.operations.replay import plan, ports, rewinding, targets
from tests.unit.replay import world
from tests.unit.replay.world import AT, LOG, NOTE, World

if TYPE_CHECKING:
    from collections.abc import Sequence

OTHER = ports.TopicPartition("allocate", 1)


@pytest.fixture
def outside() -> World:
    """Ten commands in one partition, all of them handled but two; the group is there as well."""
    there = World()
    records = [there.put(AT, "Allocate", orderid=f"o{number}", sku="LAMP", qty=1) for number in range(10)]
    there.handle(*records[:8])
    there.offsets[AT] = 8
    there.records[OTHER] = []
    return there


class Intermission:
    """Notes what is done with it; `renewals` are their answers, True after them."""

    def __init__(self, *, is_free: bool = True, renewals: Sequence[bool] = (), ends: Exception | None = None) -> None:
        self.done: list[str] = []
        self._is_free = is_free
        self._renewals = list(renewals)
        self._ends = ends

    def acquire(self) -> bool:
        self.done.append("begun")
        return self._is_free

    def renew(self) -> bool:
        self.done.append("prolonged")
        return self._renewals.pop(0) if self._renewals else True

    def release(self) -> None:
        self.done.append("ended")
        if self._ends is not None:
            raise self._ends


def rewinder(outside: World, intermission: Intermission | None = None) -> rewinding.Rewinder:
    def begun_by(note: audit.Note) -> Intermission:
        assert note == NOTE
        return intermission or Intermission()

    return rewinding.Rewinder(
        logs=outside, group=outside, positions=outside.positions, begin=outside.begin, intermission=begun_by
    )


def planned(outside: World, since: datetime | None = None) -> list[plan.Line]:
    planner = plan.Planner(logs=outside, group=outside, positions=outside.positions, command_topics=["allocate"])
    return planner.plan(["allocate"], since=since)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2030-01-31T08:00:00Z", datetime(2030, 1, 31, 8, tzinfo=UTC)),
        ("2030-01-31T08:00+01:00", datetime(2030, 1, 31, 8, tzinfo=timezone(timedelta(hours=1)))),
    ],
)
def test_a_time_is_iso_with_a_zone(text: str, expected: datetime) -> None:
    assert targets.moment(text) == expected


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("2030-01-31T08:00:00", "names no zone; add Z"), ("2030-01-31", "names no zone"), ("yesterday", "write it like")],
)
def test_a_time_without_a_zone_and_what_is_none_is_refused_with_the_remedy(text: str, remedy: str) -> None:
    with pytest.raises(targets.BadTime, match=remedy):
        targets.moment(text)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (targets.ToOffset(3), 3),
        (targets.ToEarliest(), 2),
        (targets.Back(3), 5),
        (targets.Back(1000), 2),
        (targets.ToTime(world.time_of(4)), 4),
        (targets.ToTime(world.time_of(4) - timedelta(seconds=1)), 4),
        (targets.ToTime(world.time_of(0)), 2),
        (targets.ToTime(world.time_of(9)), 8),
        (targets.ToTime(world.time_of(99)), 8),
    ],
)
def test_a_group_goes_back_as_far_as_the_log_does_and_never_ahead_of_the_position(
    outside: World, target: targets.Target, expected: int
) -> None:
    outside.begins[AT] = 2
    (move,) = rewinder(outside).moves(["allocate"], target, partitions=[0])
    assert move == rewinding.Move(AT, 8, expected, 8)
    assert move.read_again == 8 - expected


@pytest.mark.parametrize(
    ("target", "partitions", "why"),
    [
        (targets.ToOffset(1), [0], "holds offsets 2 to 10; there is no 1"),
        (targets.ToOffset(11), [0], "holds offsets 2 to 10; there is no 11"),
        (targets.ToOffset(9), [0], "allocation replay skip"),
        (targets.ToEarliest(), [0, 7], "there is no partition 7"),
    ],
)
def test_what_is_no_way_back_is_refused(
    outside: World, target: targets.Target, partitions: list[int], why: str
) -> None:
    outside.begins[AT] = 2
    with pytest.raises(ports.CannotReplay, match=why):
        rewinder(outside).moves(["allocate"], target, partitions=partitions)


def test_a_group_that_never_was_is_taken_to_be_at_the_position(outside: World) -> None:
    outside.offsets.clear()
    first, other = rewinder(outside).moves(["allocate"], targets.Back(1))
    assert (first.target, other.target) == (7, 0)


def test_a_group_with_members_is_not_moved_and_they_are_named(outside: World) -> None:
    outside.active = [status.Member("w1", "10.0.0.7", 6)]
    moves = rewinder(outside).moves(["allocate"], targets.ToEarliest())
    with pytest.raises(ports.MembersActive, match=r"w1 on 10\.0\.0\.7.*--wait"):
        rewinder(outside).rewind(moves, NOTE)
    assert (outside.offsets, outside.audited) == ({AT: 8}, [])


W1, W2 = status.Member("w1", "a", 3), status.Member("w2", "b", 3)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewinding, "POLL_S", 0.0)
    monkeypatch.setattr(rewinding, "PATIENCE_S", -1.0)


def test_workers_stay_away_until_the_block_ends_and_it_is_told_who_is_waited_for(
    outside: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewinding, "POLL_S", 0.0)
    in_turn = [[W2, W1], [W1, W2], [W1], []]
    monkeypatch.setattr(outside, "members", lambda: in_turn.pop(0))
    told: list[Sequence[str]] = []
    intermission = Intermission()
    with rewinder(outside, intermission).intermission(NOTE, told.append):
        assert intermission.done == ["begun", *["prolonged"] * 4]
    assert intermission.done[5:] == ["ended"]
    assert told == [["w1 on a", "w2 on b"], ["w1 on a"]]


@pytest.mark.usefixtures("impatient")
def test_members_that_do_not_leave_are_named_and_the_workers_come_back(outside: World) -> None:
    outside.active = [W1]
    intermission = Intermission()
    with (
        pytest.raises(ports.CannotReplay, match="w1 on a; they hang, or are no workers of this version: stop them"),
        rewinder(outside, intermission).intermission(NOTE, lambda _names: None),
    ):
        pytest.fail("there is a member")
    assert intermission.done == ["begun", "ended"]


def test_what_fails_in_an_intermission_ends_it_also_when_the_database_is_gone(outside: World) -> None:
    intermission = Intermission(ends=service_ports.DependencyDown("no database"))
    with (
        pytest.raises(KeyboardInterrupt),
        rewinder(outside, intermission).intermission(NOTE, lambda _names: None),
    ):
        raise KeyboardInterrupt
    assert intermission.done == ["begun", "prolonged", "ended"]


@pytest.mark.parametrize(
    ("intermission", "done"),
    [
        (Intermission(is_free=False), ["begun"]),
        (Intermission(renewals=[False]), ["begun", "prolonged", "ended"]),
    ],
)
def test_two_rewinds_do_not_get_into_each_others_way(
    outside: World, intermission: Intermission, done: list[str]
) -> None:
    with (
        pytest.raises(ports.CannotReplay, match="another rewind"),
        rewinder(outside, intermission).intermission(NOTE, lambda _names: None),
    ):
        pytest.fail("another has it")
    assert intermission.done == done


def test_what_is_moved_is_audited_and_where_nothing_moves_nothing_is(outside: World) -> None:
    outside.offsets[OTHER] = 0
    moves = rewinder(outside).moves(["allocate"], targets.ToOffset(0))
    rewinder(outside).rewind(moves, NOTE)
    assert outside.offsets == {AT: 0, OTHER: 0}
    assert [(entry.what, entry.subject) for entry in outside.audited] == [("replay.rewound", "allocate/0 from 8 to 0")]
    rewinder(outside).rewind(rewinder(outside).moves(["allocate"], targets.ToEarliest()), NOTE)
    assert len(outside.audited) == 1


def test_a_plan_tells_what_is_where_and_what_retention_has_taken(outside: World) -> None:
    outside.begins[AT] = 2
    first, other = planned(outside)
    assert (first.begin, first.removed, first.end, first.position, first.committed) == (2, 2, 10, 8, 8)
    assert (first.first_at, first.newest_at) == (world.time_of(2), world.time_of(9))
    assert (first.start, first.covered, first.is_cut) == (None, None, False)
    assert (other.first_at, other.position, other.committed) == (None, 0, None)


@pytest.mark.parametrize(("minute", "start", "is_cut"), [(0, 2, True), (2, 2, False), (7, 7, False), (99, 10, False)])
def test_a_plan_tells_what_a_replay_from_a_time_would_read(
    outside: World, minute: int, start: int, *, is_cut: bool
) -> None:
    outside.begins[AT] = 2
    line, _ = planned(outside, world.time_of(minute))
    assert (line.start, line.covered, line.is_cut) == (start, 10 - start, is_cut)


def test_events_have_no_position(outside: World) -> None:
    outside.put(ports.TopicPartition("line_allocated", 0), "LineAllocated", orderid="o1")
    planner = plan.Planner(logs=outside, group=outside, positions=outside.positions, command_topics=["allocate"])
    assert [line.position for line in planner.plan(["line_allocated", "allocate"], since=None)] == [None, 8, 0]
    assert LOG in outside.positions()
