from __future__ import annotations

from datetime import UTC, datetime, timedelta

from allocation.service_layer.operations.overview import alarms, lately

START = datetime(2030, 1, 31, 8, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_what_was_wrong_is_told_when_it_has_ended_from_its_begin_and_in_its_last_words() -> None:
    past = lately.Lately()
    assert past.look([alarms.Alarm("worker", "stands for 3 s")], time=at(3)) == []
    assert past.look([alarms.Alarm("worker", "stands for 4 s")], time=at(4)) == []
    assert past.look([], time=at(5)) == [lately.Past("worker", "stands for 4 s", at(3), at(5))]


def test_the_newest_comes_first_and_old_ones_are_forgotten() -> None:
    past = lately.Lately()
    past.look([alarms.Alarm("worker", "")], time=at(0))
    past.look([alarms.Alarm("relay-0", "")], time=at(1))
    assert [one.what for one in past.look([], time=at(2))] == ["relay-0", "worker"]
    assert [one.what for one in past.look([], time=at(601.5))] == ["relay-0"]
    assert past.look([], time=at(700)) == []


def test_of_two_things_under_one_name_the_first_is_told_once() -> None:
    past = lately.Lately()
    past.look([alarms.Alarm("worker", "is gone"), alarms.Alarm("worker", "stands")], time=at(0))
    assert [one.text for one in past.look([], time=at(1))] == ["is gone"]
