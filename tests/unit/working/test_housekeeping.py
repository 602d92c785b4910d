"""What a worker does beside its records: ends, graces, brakes, intermissions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.domain import commands
from allocation.service_layer import failure_policy, messages, ports, reporting, working
from tests import builders, installations
from tests.unit.working import scenes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest
    import structlog

    from tests.fakes import unit_of_work as fakes


def test_the_ends_of_logs_are_passed_over_to(scene: scenes.Scene) -> None:
    scene.consumer.ends = [messages.LogEnd("allocate", scenes.LOG, 0, 2)]
    scene.run()
    assert scene.database.state.positions[scenes.LOG].next_offset == 2


def test_an_end_is_not_forgotten_when_the_database_is_down(scene: scenes.Scene) -> None:
    scene.consumer.ends = [
        messages.LogEnd("allocate", scenes.LOG, 0, 2),
        messages.LogEnd("allocate", scenes.LOG._replace(partition=1), 0, 3),
    ]
    scene.database.failures = [ports.DependencyDown("no database")] * 2
    scene.run()
    assert [position.next_offset for position in scene.database.state.positions.values()] == [2, 3]


def test_commands_whose_grace_is_over_are_refused_in_between(
    scene: scenes.Scene, logged: list[structlog.types.EventDict]
) -> None:
    scene.arrive(commands.Allocate("o1", "LAMP", 1))
    scene.consumer.arriving.extend([(), (), ()])
    scene.consumer.on_pause = scene.stopping.set
    begin = scene.database.begin

    def later() -> fakes.FakeUnitOfWork:
        uow = begin()
        scene.database.now = builders.NOW.replace(hour=23)
        return uow

    scene.processor = installations.a_processor(later)
    scene.run()
    assert [line["expired"] for line in logged if line["event"] == "worker.grace_over"] == [1]
    assert [report.outcomes["expired"] for report in scene.standing.expirations] == [1]
    assert [line["reason"] for line in logged if line["event"] == "worker.refused"] == ["invalid_sku"]
    assert scene.database.state.parked == []


def test_a_full_outbox_stops_the_worker_until_there_is_room(
    scene: scenes.Scene, logged: list[structlog.types.EventDict]
) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.outbox_rows = 10

    def drain() -> None:
        assert scene.consumer.sizes == []
        scene.outbox_rows -= 1

    scene.consumer.on_pause = drain
    scene.run()
    assert scene.consumer.committed == [0]
    assert len(scene.consumer.pauses) == 2
    assert scenes.events_of(logged)[:2] == ["worker.stands_still", "worker.goes_on"]


def test_in_an_intermission_the_worker_is_no_member_of_its_group_and_says_so(
    scene: scenes.Scene, logged: list[structlog.types.EventDict]
) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.arrive(commands.Allocate("o1", "LAMP", 1))
    process = scene.processor.process
    said: list[dict[str, str]] = []

    class CalledMeanwhile(failure_policy.FailurePolicy):
        def process(self, records: Sequence[messages.Record], **_: object) -> list[reporting.Report]:
            if not scene.consumer.moves:
                scene.intermission = "jane, vm:17: a test"
            return [process(records)]

    def come_back() -> None:
        said.append(scenes.problems(scene))
        if len(said) == 3:
            scene.intermission = None

    scene.consumer.on_pause = come_back
    scene.run(CalledMeanwhile(scene.processor, max_retries=0))
    assert scene.consumer.moves == ["leaves after [0]", "joins"]
    assert scene.consumer.committed == [0, 0]
    assert said[0] == {}
    assert said[1].keys() == {"assignment"}
    assert said[1] == said[2]
    assert "stands still since" in said[1]["assignment"]
    assert "jane, vm:17: a test" in said[1]["assignment"]
    assert scenes.problems(scene) == {}
    events = [one for one in scenes.events_of(logged) if one.startswith("worker.") and one != "worker.batch"]
    assert events == ["worker.leaves_group", "worker.joins_again"]


def test_an_intermission_outlasts_an_outage_of_the_database(scene: scenes.Scene) -> None:
    scene.intermission = "jane, vm:17: a test"
    pauses: list[float] = []

    def go_on() -> None:
        pauses.append(1)
        scene.currency.is_doubtful = len(pauses) == 1
        scene.currency.finds = [ports.DependencyDown("no database")]
        if len(pauses) == 5:
            scene.intermission = None

    scene.consumer.on_pause = go_on
    scene.run()
    assert scene.consumer.moves == ["leaves after []", "joins"]
    assert scene.standing.outages == [True]


def test_house_is_kept_now_and_then_only(scene: scenes.Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "HOUSEKEEPING_INTERVAL_S", 3600)
    scene.consumer.arriving.extend([(), ()])
    looks: list[int] = []
    scene.consumer.take_ends = lambda: looks.append(1) or []  # type: ignore[method-assign, func-returns-value]
    scene.run()
    assert (len(looks), len(scene.consumer.sizes)) == (1, 3)
