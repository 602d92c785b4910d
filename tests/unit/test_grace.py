from __future__ import annotations

import datetime
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from allocation.domain import commands
from allocation.service_layer import envelopes, failure_policy, failures, grace, messages, ports
from tests import builders, installations
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from allocation.service_layer import processing, reporting, unit_of_work

CREATE = messages.LogPartition("id of create_batch", 0)
LINE = commands.Allocate("o1", "LAMP", 3)
BATCH = commands.CreateBatch("b1", "LAMP", 10)


class Room(fakes.FakeWaitingRoom):
    """A worker's view of the database, and of the ends of the `create_batch` logs."""

    def __init__(self, database: fakes.FakeDatabase) -> None:
        super().__init__(database)
        self.ends: dict[messages.LogPartition, int] = {CREATE: 0}
        self.ends_seen = 0

    def look(self) -> Mapping[messages.LogPartition, int]:
        self.ends_seen += 1
        return dict(self.ends)


class Scene:
    def __init__(self) -> None:
        self.database = fakes.FakeDatabase()
        self.room = Room(self.database)
        self.processor = installations.a_processor(self.database.begin, grace_s=60)
        self.grace = self.a_grace(self.processor)
        self.may_release = True
        self._offset = 0

    def a_grace(self, processor: grace.Processing, *, ends: grace.Ends | None = None) -> grace.Grace:
        policy = failure_policy.FailurePolicy(self.processor, max_retries=1)
        return grace.Grace(
            room=self.room,
            ends=ends or self.room.look,
            processor=processor,
            policy=policy,
            may_release=lambda: self.may_release,
        )

    def send(self, *given: commands.Command) -> None:
        for command in given:
            name = type(command).__name__
            value = serde.FakeSerde().serialize(name, envelopes.command_fields(command))
            topic = installations.NAMES.commands[name]
            self.processor.process([builders.a_record(value, topic=topic, offset=self._offset)])
            self._offset += 1

    def pass_time(self, seconds: float) -> None:
        self.database.now += datetime.timedelta(seconds=seconds)

    def check_twice(self) -> dict[str, int]:
        """Check, and once more for what the first check began; return what became of what."""
        reports = [*self.grace.check(), *self.grace.check()]
        return dict(sum((Counter(report.outcomes) for report in reports), Counter[str]()))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_nothing_is_refused_before_its_grace_is_over(scene: Scene) -> None:
    scene.send(LINE)
    scene.pass_time(59)
    assert scene.check_twice() == {}
    assert scene.room.ends_seen == 0


def test_a_command_is_refused_when_its_grace_is_over_and_all_batches_are_known(scene: Scene) -> None:
    scene.send(LINE)
    scene.pass_time(60)
    assert scene.check_twice() == {"expired": 1}
    assert scene.database.state.parked == []


def test_a_worker_that_comes_back_late_reads_all_batches_before_it_refuses(scene: Scene) -> None:
    scene.send(LINE)
    scene.room.ends[CREATE] = 5
    scene.pass_time(7200)
    assert scene.check_twice() == {}
    assert scene.check_twice() == {}
    scene.send(commands.CreateBatch("v1", "VASE", 1), commands.CreateBatch("v2", "VASE", 1))
    assert scene.check_twice() == {}
    scene.send(commands.CreateBatch("v3", "VASE", 1), commands.CreateBatch("v4", "VASE", 1))
    assert scene.database.state.positions[CREATE].next_offset == 5
    assert scene.check_twice() == {"expired": 1}


def test_a_batch_that_comes_with_the_last_records_releases_the_command(scene: Scene) -> None:
    scene.send(LINE)
    scene.room.ends[CREATE] = 2
    scene.pass_time(7200)
    scene.check_twice()
    scene.send(BATCH)
    assert scene.check_twice() == {}
    assert scene.database.state.products["LAMP"].batches[0].allocated_quantity == 3


def test_the_ends_are_looked_at_once_for_each_refusal(scene: Scene) -> None:
    scene.send(LINE)
    scene.room.ends[CREATE] = 2
    scene.pass_time(60)
    for _ in range(5):
        scene.grace.check()
    assert scene.room.ends_seen == 1


def test_what_becomes_overdue_after_the_ends_were_seen_waits_for_the_next_look(scene: Scene) -> None:
    scene.send(LINE)
    scene.pass_time(30)
    scene.send(commands.Allocate("o2", "VASE", 1))
    scene.pass_time(30)
    scene.grace.check()
    scene.pass_time(30)
    [report] = scene.grace.check()
    assert report.outcomes == {"expired": 1}
    assert scene.check_twice() == {"expired": 1}


def test_what_another_worker_has_ended_meanwhile_is_left_alone(scene: Scene) -> None:
    scene.send(LINE)
    scene.pass_time(60)
    scene.grace.check()
    scene.send(BATCH)
    assert not scene.grace.check()


def test_what_stands_behind_a_poisoned_command_is_not_overdue(scene: Scene) -> None:
    record = builders.a_record(
        serde.FakeSerde().serialize("Allocate", {"orderid": "o0", "sku": "LAMP", "qty": 1}), offset=0
    )
    scene.processor.set_aside(record, failure=failures.Failure("a bug"))
    scene._offset = 1  # noqa: SLF001 - behind it
    scene.send(LINE)
    scene.pass_time(3600)
    assert scene.check_twice() == {}
    assert scene.room.ends_seen == 0


class Breaking:
    """Fails for the lines of one order."""

    def __init__(self, processor: processing.Processor, orderid: str, error: Exception) -> None:
        self._processor = processor
        self._orderid = orderid
        self._error = error

    def expire(
        self, overdue: Sequence[unit_of_work.ParkedCommand], *, expired_at: datetime.datetime, **more: Any
    ) -> reporting.Report:
        if any(self._orderid in str(parked.message.command) for parked in overdue):
            raise self._error
        return self._processor.expire(overdue, expired_at=expired_at, **more)

    def release(self, *given: Any, **more: Any) -> reporting.Report:
        return self._processor.release(*given, **more)


def test_a_command_that_fails_unexpectedly_stops_no_other(scene: Scene) -> None:
    scene.grace = scene.a_grace(Breaking(scene.processor, "o3", RuntimeError("a bug")))
    scene.send(*(commands.Allocate(f"o{number}", f"VASE-{number}", 1) for number in range(8)))
    scene.pass_time(60)
    with structlog.testing.capture_logs() as logged:
        assert scene.check_twice() == {"expired": 7}
    assert [(line["event"], line["queue"]) for line in logged] == [("worker.grace_failed", "sku:VASE-3")]
    assert len(scene.database.state.parked) == 1


def test_a_conflict_is_left_to_the_caller(scene: Scene) -> None:
    scene.grace = scene.a_grace(Breaking(scene.processor, "o1", ports.Retryable("a conflict")))
    scene.send(LINE)
    scene.pass_time(60)
    with pytest.raises(ports.Retryable):
        scene.check_twice()


def test_nothing_is_refused_while_there_is_no_topic_that_its_batch_could_come_on(scene: Scene) -> None:
    without_topic = scene.a_grace(scene.processor, ends=lambda: None)
    scene.send(LINE)
    scene.pass_time(61)
    assert [*without_topic.check(), *without_topic.check()] == []
    assert scene.check_twice() == {"expired": 1}
