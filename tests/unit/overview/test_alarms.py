from __future__ import annotations

import pytest

from allocation.service_layer.operations.overview import alarms, figures, flow
from tests.unit.overview import builders

POISONED = figures.Poisoned(17, "sku:LAMP", "no such thing", "KeyError", 3)


def told(*looks: figures.Seen) -> list[alarms.Alarm]:
    recorder = flow.Recorder()
    for look in looks:
        found = recorder.add(look)
    return list(found.alarms)


def test_nothing_is_said_while_all_is_well() -> None:
    looks = [
        builders.seen(at, logs=builders.some_logs(5 * at, 3), work=builders.some_work(5 * at, 3, written=at))
        for at in range(10)
    ]
    assert told(*looks) == []


def test_a_partition_that_stands_still_while_commands_wait_is_named() -> None:
    looks = [
        builders.seen(at, logs=builders.some_logs(10, 10 + at), work=builders.some_work(7, 10 + at)) for at in range(4)
    ]
    (alarm,) = told(*looks)
    assert alarm.what == "worker"
    assert "allocate/0" in alarm.text
    assert "3 commands wait" in alarm.text


def test_a_dead_worker_is_named_within_four_seconds_of_looks() -> None:
    looks = [builders.seen(at, logs=builders.some_logs(1), work=builders.some_work(0)) for at in range(4)]
    assert [alarm.what for alarm in told(*looks)] == ["worker"]
    assert told(*looks[:3]) == []


def test_a_backlog_that_moves_is_no_alarm() -> None:
    looks = [builders.seen(at, logs=builders.some_logs(1000), work=builders.some_work(at)) for at in range(10)]
    assert told(*looks) == []


def test_commands_that_come_after_a_rest_have_their_own_time() -> None:
    resting = [builders.seen(at, logs=builders.some_logs(5), work=builders.some_work(5)) for at in range(10)]
    assert told(*resting, builders.seen(10, logs=builders.some_logs(6), work=builders.some_work(5))) == []


def test_a_group_without_members_is_named() -> None:
    (alarm,) = told(builders.seen(0, logs=builders.some_logs(2), work=builders.some_work(0), members=()))
    assert alarm == alarms.Alarm("worker", "no worker is there; 2 commands wait")


def test_nothing_is_said_of_workers_while_nobody_knows() -> None:
    assert told(builders.seen(0, logs=builders.some_logs(0), work=builders.some_work(0), members=None)) == []


def test_a_shard_that_nobody_holds_is_named() -> None:
    (alarm,) = told(builders.seen(0, work=builders.some_work(owners={}, rows=2)))
    assert alarm == alarms.Alarm("relay-0", "no relay is there: 2 rows wait in the outbox, the oldest for 1 s")


def test_a_shard_that_is_not_held_any_more_is_named_with_who_held_it() -> None:
    held, free = builders.some_work(), builders.some_work(owners={})
    (alarm,) = told(builders.seen(0, work=held), builders.seen(1, work=free))
    assert alarm.text.startswith("no relay is there; vm:17 was it, and is dead or stopped: 0 rows wait")


def test_a_bridge_that_was_there_is_missed_for_a_while() -> None:
    with_bridge, without = builders.some_work(owners={**builders.A_RELAY, "bridge": "vm:18"}), builders.some_work()
    seen = [builders.seen(at, work=work) for at, work in ((0, with_bridge), (1, without), (700, without))]
    (alarm,) = told(*seen[:2])
    assert alarm.text.startswith("no bridge is there; vm:18 was it")
    assert told(*seen) == []


def test_nobody_misses_a_bridge_that_was_never_there() -> None:
    assert told(*(builders.seen(at, work=builders.some_work()) for at in range(3))) == []


def test_a_relay_that_ends_no_pass_while_rows_wait_is_named_with_its_owner() -> None:
    (alarm,) = told(*(builders.seen(at, work=builders.some_work(rows=2 + at)) for at in range(4)))
    assert alarm.what == "relay-0"
    assert alarm.text.startswith("vm:17 is stuck: 5 rows wait")


def test_a_relay_that_works_on_a_full_outbox_is_no_alarm() -> None:
    looks = [
        builders.seen(at, work=builders.some_work(rows=50, shards=[figures.Shard(0, at, 50, 9.0)])) for at in range(9)
    ]
    assert told(*looks) == []


def test_a_relay_that_rests_is_no_alarm() -> None:
    assert told(*(builders.seen(at, work=builders.some_work()) for at in range(9))) == []


def test_of_two_shards_only_the_stuck_one_is_named() -> None:
    def shards(at: int) -> list[figures.Shard]:
        return [figures.Shard(0, at, 5, 1.0), figures.Shard(1, 7, 5, 1.0)]

    owners = {"relay-0": "one", "relay-1": "other"}
    looks = [builders.seen(at, work=builders.some_work(rows=10, shards=shards(at), owners=owners)) for at in range(5)]
    assert [alarm.what for alarm in told(*looks)] == ["relay-1"]


def test_a_poisoned_sku_is_named_with_its_error_and_what_waits() -> None:
    (alarm,) = told(builders.seen(0, work=builders.some_work(poisoned=(POISONED,))))
    assert alarm.what == "sku:LAMP"
    assert alarm.text == "command 17 is poisoned (KeyError: no such thing); 3 commands wait behind it"


def test_of_a_long_error_the_first_line_is_told_and_its_class_once() -> None:
    error = "RaiseException: a bug\nCONTEXT: in a function"
    poisoned = figures.Poisoned(17, "sku:LAMP", error, "RaiseException", 0)
    (alarm,) = told(builders.seen(0, work=builders.some_work(poisoned=(poisoned,))))
    assert alarm.text == "command 17 is poisoned (RaiseException: a bug); 0 commands wait behind it"


def test_rows_that_kafka_refused_are_an_alarm() -> None:
    (alarm,) = told(builders.seen(0, work=builders.some_work(quarantined=1)))
    assert alarm.text == "Kafka refused 1 row; see `allocation outbox`"


@pytest.mark.parametrize("given", [{"problems": {"Redis": "is down"}}, {"parts": {"Redis": "is down"}}])
def test_services_and_parts_that_do_not_answer_are_named(given: dict[str, dict[str, str]]) -> None:
    assert told(builders.seen(0, **given)) == [alarms.Alarm("Redis", "is down")]  # type: ignore[arg-type]


def test_parts_that_are_well_are_no_alarm() -> None:
    assert told(builders.seen(0, parts={"worker": ""})) == []
