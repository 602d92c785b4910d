from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.service_layer.operations import status
from allocation.service_layer.operations.overview import alarms, presence
from tests.unit.overview import builders

if TYPE_CHECKING:
    from collections.abc import Iterable

STATIC = status.Member("worker-1", "10.0.0.1", 9)
OTHER = status.Member("worker-2", "10.0.0.2", 9)
DYNAMIC = status.Member("rdkafka-0b51", "10.0.0.1", 9)


def gone(*looks: tuple[Iterable[str], tuple[status.Member, ...] | None]) -> list[str]:
    """Return who is gone at the last of these looks, one a second."""
    watched = presence.Presence()
    found: list[str] = []
    for at_s, (connected, members) in enumerate(looks):
        found = list(watched.look(frozenset(connected), members, at_s=at_s))
    return found


def test_a_worker_that_the_group_counts_on_and_that_is_not_connected_is_gone_at_once() -> None:
    assert gone((["worker-1", "worker-2"], (STATIC, OTHER)), (["worker-2"], (STATIC, OTHER))) == ["worker-1"]


def test_one_that_is_back_is_not_gone() -> None:
    assert gone((["worker-1"], (STATIC,)), ([], (STATIC,)), (["worker-1"], (STATIC,))) == []


def test_one_that_was_never_seen_is_not_missed() -> None:
    assert gone(([], (STATIC,)), ([], (STATIC,))) == []


def test_one_that_has_left_the_group_is_not_missed() -> None:
    assert gone((["worker-1", "worker-2"], (STATIC, OTHER)), (["worker-2"], (OTHER,))) == []


def test_one_without_a_name_is_gone_when_the_group_has_more_members_than_are_connected() -> None:
    before = (["vm:17", "vm:18"], (DYNAMIC, DYNAMIC))
    after = (["vm:18"], (DYNAMIC, DYNAMIC))
    assert gone(before, after, after, after) == ["vm:17"]
    assert gone(before, after, after) == [], "it may have left in order, and Kafka was asked before"
    assert gone(before, after, (["vm:18"], (DYNAMIC,)), (["vm:18"], (DYNAMIC,))) == []


def test_while_nobody_knows_who_is_in_the_group_nobody_is_gone() -> None:
    assert gone((["worker-1"], (STATIC,)), ([], None)) == []


def test_a_name_that_the_server_has_cut_off_is_that_of_its_member() -> None:
    long = status.Member("a" * 80, "10.0.0.1", 9)
    assert gone((["a" * 46], (long,)), ([], (long,))) == ["a" * 46]


def test_the_alarm_names_the_worker() -> None:
    watch = alarms.Watch()
    seen = [
        builders.seen(at, work=builders.some_work(workers=frozenset(connected)))
        for at, connected in enumerate(([builders.A_WORKER.name], []))
    ]
    assert watch.look(seen[0], status.Status()) == []
    (alarm,) = watch.look(seen[1], status.Status())
    assert (alarm.what, alarm.text.split()[0]) == ("worker", "worker-1")
    assert "was killed" in alarm.text
