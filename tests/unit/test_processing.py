from __future__ import annotations

import copy
import datetime
import time
from typing import TYPE_CHECKING, Any

import prometheus_client
import pytest

from allocation.adapters.postgres import headers as outbox_headers
from allocation.adapters.prometheus import hearing
from allocation.domain import commands
from allocation.service_layer import envelopes, failures, messages, ports, processing, reading, reporting, unit_of_work
from tests import builders, installations
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VALUES = serde.FakeSerde()
BATCH = commands.CreateBatch("b1", "LAMP", 10)
LINE = commands.Allocate("o1", "LAMP", 3)
LOG = messages.LogPartition("id of allocate", 0)
LATER = builders.NOW + datetime.timedelta(hours=1)


@pytest.fixture
def database() -> fakes.FakeDatabase:
    return fakes.FakeDatabase()


@pytest.fixture
def processor(database: fakes.FakeDatabase) -> processing.Processor:
    return installations.a_processor(database.begin)


def a_record(command: commands.Command, offset: int, *, partition: int = 0, **headers: bytes) -> messages.Record:
    name = type(command).__name__
    return builders.a_record(
        VALUES.serialize(name, envelopes.command_fields(command)),
        topic=installations.NAMES.commands[name],
        partition=partition,
        offset=offset,
        headers=tuple(headers.items()),
    )


def lines(database: fakes.FakeDatabase) -> list[str]:
    return [line.orderid for batch in database.state.products["LAMP"].batches for line in batch.lines]


def position(database: fakes.FakeDatabase, log: messages.LogPartition = LOG) -> int:
    return database.state.positions[log].next_offset


def test_records_are_handled_in_one_transaction_and_counted(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    report = processor.process([a_record(BATCH, 0), a_record(LINE, 0), a_record(commands.Allocate("o1", "NO", 1), 1)])
    assert (report.outcomes, report.events, report.repeated) == ({"handled": 2, "waited": 1}, 1, {})
    assert report.fates == {("create_batch", "handled"): 1, ("allocate", "handled"): 1, ("allocate", "waited"): 1}
    assert database.commits == 1


def test_the_journals_row_says_when_the_oldest_command_was_sent(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    times = {0: 3000, 1: 1000, 2: 2000}
    records = [a_record(LINE, 0, partition=number)._replace(timestamp_ms=time) for number, time in times.items()]
    processor.process(records)
    [row] = [one for one in database.state.outbox if one.topic == installations.NAMES.journal]
    assert row.headers == ((messages.COMMANDS_SINCE, b"1000"),)


def test_the_whole_way_of_a_command_begins_when_its_sender_sent_it(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    now = time.time()
    sent = datetime.datetime.fromtimestamp(now - 10, datetime.UTC).isoformat()
    processor.process([a_record(LINE, 0, ce_time=sent.encode())._replace(timestamp_ms=int(now * 1000))])
    registry = prometheus_client.CollectorRegistry()
    relay = hearing.RelaySignals(registry, dead_letter_topic="dead", journal_topic=installations.NAMES.journal)
    relay.relayed(
        [(1, one.topic, None, b"", b"", outbox_headers.dump(one.headers)) for one in database.state.outbox], 0.1
    )
    assert registry.get_sample_value("allocation_end_to_end_seconds_count") == 1
    assert 10 <= (registry.get_sample_value("allocation_end_to_end_seconds_sum") or 0) < 20


def test_the_time_of_each_topic_is_told(processor: processing.Processor) -> None:
    started = time.perf_counter()
    report = processor.process([a_record(BATCH, 0), a_record(LINE, 0), a_record(BATCH, 1)])
    assert set(report.handling_s) == {"create_batch", "allocate"}
    assert 0 < sum(report.handling_s.values()) < time.perf_counter() - started


def test_events_are_counted_with_the_command_that_caused_them(processor: processing.Processor) -> None:
    shrinking = commands.ChangeBatchQuantity("b1", 2, "LAMP")
    report = processor.process([a_record(BATCH, 0), a_record(LINE, 0), a_record(shrinking, 0)])
    assert report.announced == {
        ("LineAllocated", "Allocate"): 1,
        ("LineDeallocated", "ChangeBatchQuantity"): 1,
        ("OutOfStock", "ChangeBatchQuantity"): 1,
    }


def test_the_position_follows_the_last_record_of_each_log(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    last = a_record(LINE, 17)._replace(leader_epoch=4)
    processor.process([a_record(BATCH, 5), a_record(LINE, 8), last, a_record(LINE, 2, partition=1)])
    assert database.state.positions == {
        messages.LogPartition("id of create_batch", 0): unit_of_work.Position(
            "create_batch", 6, 0, 5, reading.record_digest(a_record(BATCH, 5))
        ),
        LOG: unit_of_work.Position("allocate", 18, 4, 17, reading.record_digest(last)),
        messages.LogPartition("id of allocate", 1): unit_of_work.Position(
            "allocate", 3, 0, 2, reading.record_digest(a_record(LINE, 2))
        ),
    }


def test_gaps_in_a_log_are_normal(database: fakes.FakeDatabase, processor: processing.Processor) -> None:
    processor.process([a_record(BATCH, 0), a_record(LINE, 0)])
    processor.process([a_record(commands.Allocate("o2", "LAMP", 1), 1000)])
    assert lines(database) == ["o1", "o2"]


def test_what_lies_below_the_position_is_skipped_and_counted(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    batch, first, second = a_record(BATCH, 0), a_record(LINE, 0), a_record(commands.Allocate("o2", "LAMP", 3), 1)
    processor.process([batch, first])
    report = processor.process([batch, first, second])
    assert (report.repeated, report.outcomes, report.events) == ({"create_batch": 1, "allocate": 1}, {"handled": 1}, 1)
    assert processor.process([batch, first, second]) == reporting.Report(repeated={"create_batch": 1, "allocate": 2})
    assert (lines(database), database.commits) == (["o1", "o2"], 2)


def test_a_last_record_that_is_another_one_now_is_never_passed(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    processor.process([a_record(BATCH, 0), a_record(LINE, 0)])
    other = a_record(commands.Allocate("o9", "LAMP", 9), 0)
    with pytest.raises(processing.LogDiverged, match="allocate/0: the record at offset 0 is not the one") as caught:
        processor.process([other, a_record(commands.Allocate("o2", "LAMP", 1), 1)])
    assert (caught.value.topic, caught.value.partition) == ("allocate", 0)
    assert (lines(database), position(database)) == (["o1"], 1)


def test_nothing_is_handled_on_a_database_that_has_forgotten_what_it_had_done(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    processor.process([a_record(BATCH, 0), a_record(LINE, 0)])
    back_up = copy.deepcopy(database.state)
    processor.process([a_record(LINE, 1), a_record(LINE, 2)])
    database.state = back_up
    with pytest.raises(processing.GoneBack, match=r"allocate/0 up to offset 3, and now up to 1"):
        processor.process([a_record(LINE, 3)])
    with pytest.raises(processing.GoneBack):
        processor.pass_over(end(after=3, next_offset=4))
    assert position(database) == 1


@pytest.mark.parametrize("has_position", [True, False])
def test_nor_on_one_that_has_handled_nothing_of_a_log_yet(
    database: fakes.FakeDatabase, processor: processing.Processor, *, has_position: bool
) -> None:
    """`init` writes positions without a last record; partitions that were added later have none."""
    if has_position:
        database.state.positions[LOG] = unit_of_work.Position("allocate", 0, 0, -1, b"")
    back_up = copy.deepcopy(database.state)
    processor.process([a_record(LINE, 0)])
    processor.pass_over(end(after=1, next_offset=2))
    database.state = back_up
    with pytest.raises(processing.GoneBack, match=r"allocate/0 up to offset 2, and now up to 0"):
        processor.process([a_record(LINE, 2)])


def test_a_position_that_was_read_from_again_may_have_gone_back(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    processor.process([a_record(LINE, 7)])
    database.state.positions[LOG] = unit_of_work.Position("allocate", 0, 0, -1, b"")
    processor.forget(LOG)
    assert processor.process([a_record(LINE, 0)]).repeated == {}


def test_a_topic_made_anew_has_a_position_of_its_own(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    processor.process([a_record(BATCH, 0), a_record(LINE, 0)])
    processor.process([a_record(commands.Allocate("o2", "LAMP", 1), 0)._replace(topic_id="another")])
    assert lines(database) == ["o1", "o2"]


def test_a_conflict_at_commit_leaves_nothing_behind(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    database.failures = [ports.Retryable("a conflict")]
    with pytest.raises(ports.Retryable):
        processor.process([a_record(BATCH, 0)])
    assert database.state == fakes.State()
    assert processor.process([a_record(BATCH, 0)]).outcomes == {"handled": 1}


def test_a_worker_that_was_overtaken_changes_nothing(database: fakes.FakeDatabase) -> None:
    records = [a_record(BATCH, 0), a_record(LINE, 0)]

    class Overtaken(fakes.FakeUnitOfWork):
        def claim(self, claimed: Sequence[messages.Message], **how: Any) -> None:
            installations.a_processor(database.begin).process(records)
            super().claim(claimed, **how)

    with pytest.raises(ports.Retryable):
        installations.a_processor(lambda: Overtaken(database)).process(records)
    assert (lines(database), database.commits) == (["o1"], 1)


def test_a_record_set_aside_is_parked_and_its_position_passed(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    failure = failures.Failure("a bug", "Bug", "0123")
    report = processor.set_aside(a_record(LINE, 0), failure=failure)
    assert report.outcomes == {"poisoned": 1}
    assert [(one.message.record, one.failure) for one in report.poisoned] == [(a_record(LINE, 0), failure)]
    assert [one.state for one in database.state.parked] == ["poisoned"]
    assert position(database) == 1
    assert processor.set_aside(a_record(LINE, 0), failure=failures.Failure("a bug")) == builders.a_report(repeated=1)


class BrokenSerde(serde.FakeSerde):
    def deserialize(self, record_name: str, value: bytes) -> Mapping[str, Any]:
        raise RecursionError(f"{record_name} of {len(value)} bytes")


def test_a_record_that_cannot_even_be_read_goes_to_the_dead_letters(database: fakes.FakeDatabase) -> None:
    processor = installations.a_processor(database.begin, values=BrokenSerde())
    with pytest.raises(RecursionError):
        processor.process([a_record(LINE, 0)])
    assert processor.set_aside(a_record(LINE, 0), failure=failures.Failure("RecursionError: deep")).outcomes == {
        "refused": 1
    }
    letter = database.state.outbox[-1]
    assert letter.topic == installations.NAMES.dead_letter
    assert dict(letter.headers)["dead_letter_error"] == b"RecursionError: deep"
    assert letter.value == a_record(LINE, 0).value


def test_a_registry_that_is_down_sets_nothing_aside(database: fakes.FakeDatabase) -> None:
    values = serde.FakeSerde()
    values.down = True
    processor = installations.a_processor(database.begin, values=values)
    with pytest.raises(ports.DependencyDown):
        processor.set_aside(a_record(LINE, 0), failure=failures.Failure("a bug"))
    assert database.state == fakes.State()


def test_commands_whose_grace_is_over_are_refused_and_what_stands_behind_them_goes_on(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    processor.process(
        [a_record(BATCH, 0), a_record(commands.ChangeBatchQuantity("b2", 1, "LAMP"), 0), a_record(LINE, 0)]
    )
    assert lines(database) == []
    report = processor.expire(database.state.parked[:1], expired_at=LATER)
    assert (report.outcomes, report.events) == ({"expired": 1, "released": 1}, 1)
    assert (lines(database), database.state.parked) == (["o1"], [])
    [letter] = [one for one in database.state.outbox if one.topic == installations.NAMES.dead_letter]
    assert dict(letter.headers)["dead_letter_error"] == b"Unknown batch b2"


def test_grace_that_is_not_over_is_not_ended(database: fakes.FakeDatabase, processor: processing.Processor) -> None:
    processor.process([a_record(LINE, 0)])
    report = processor.expire(database.state.parked, expired_at=builders.NOW)
    assert (report.outcomes, len(database.state.parked)) == ({}, 1)


def test_what_was_released_meanwhile_is_not_refused(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    processor.process([a_record(LINE, 0)])
    overdue = list(database.state.parked)
    processor.process([a_record(BATCH, 0)])
    assert processor.expire(overdue, expired_at=LATER).outcomes == {}
    assert lines(database) == ["o1"]


def test_behind_a_poisoned_command_nothing_expires(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    processor.set_aside(a_record(LINE, 0), failure=failures.Failure("a bug"))
    processor.process([a_record(commands.Allocate("o2", "LAMP", 1), 1)])
    processor.expire(database.state.parked[1:], expired_at=LATER)
    assert [one.state for one in database.state.parked] == ["poisoned", "queued"]


def end(after: int, next_offset: int) -> messages.LogEnd:
    return messages.LogEnd("allocate", LOG, after, next_offset)


def test_the_end_of_a_log_is_passed_over_to(database: fakes.FakeDatabase, processor: processing.Processor) -> None:
    processor.process([a_record(LINE, 3)])
    before = database.state.positions[LOG]
    processor.pass_over(end(after=4, next_offset=6))
    assert database.state.positions[LOG] == before._replace(next_offset=6)


def test_the_end_of_a_log_without_records_is_passed_over_to(
    database: fakes.FakeDatabase, processor: processing.Processor
) -> None:
    processor.pass_over(end(after=0, next_offset=2))
    assert database.state.positions[LOG] == unit_of_work.Position("allocate", 2, 0, -1, b"")


@pytest.mark.parametrize(
    ("handled", "after", "next_offset"),
    [(3, 5, 6), (3, 4, 4), (3, 2, 3), (3, 0, 2), (None, 0, 0)],
    ids=["records lie between", "at the end", "behind", "far behind", "empty"],
)
def test_nothing_else_is_passed_over(
    database: fakes.FakeDatabase, processor: processing.Processor, handled: int | None, after: int, next_offset: int
) -> None:
    if handled is not None:
        processor.process([a_record(LINE, handled)])
    before = (dict(database.state.positions), database.commits)
    processor.pass_over(end(after, next_offset))
    assert (database.state.positions, database.commits) == before
