"""Relay and bridge say how they are, at every turn, and take it back when it is over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from allocation import config
from allocation.entrypoints.cli import supervising
from allocation.service_layer import messages, ports, signals
from allocation.service_layer.bridging import inbound, outbound, perseverance, tenure
from tests import builders, waiting
from tests.fakes import bridging as fakes
from tests.unit import bridging_builders as build
from tests.unit import test_relaying_duty as relay_story

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perseverance, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(perseverance, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(inbound, "IDLE_S", 0.01)
    monkeypatch.setattr(outbound, "IDLE_S", 0.01)
    monkeypatch.setattr(tenure, "STANDBY_S", 0.01)


@pytest.fixture
def standing() -> signals.Standing:
    return signals.Standing()


def wait_for(standing: signals.Standing, item: str, *, state: str = "ok", problem: str | None = None) -> None:
    def is_so() -> bool:
        said = standing.items().get(item)
        return said is not None and (said.problem == problem if problem else said[:2] == (state, None))

    waiting.wait_until(is_so)


def test_a_bridge_that_stands_by_is_well(standing: signals.Standing) -> None:
    leases = fakes.FakeLeases()
    assert fakes.FakeLease(leases).acquire()
    with build.running(tenure.Bridge(lease=fakes.FakeLease(leases), jobs=(), signals=standing)):
        wait_for(standing, "lease", state="standby")


def test_a_bridge_without_its_database_says_so(standing: signals.Standing) -> None:
    leases = fakes.FakeLeases()
    leases.is_down = True
    with build.running(tenure.Bridge(lease=fakes.FakeLease(leases), jobs=(), signals=standing)):
        waiting.wait_until(lambda: any(said.problem for said in standing.items().values()))


def test_a_direction_that_ended_is_not_spoken_of_any_more(standing: signals.Standing) -> None:
    leases = fakes.FakeLeases()
    lease = fakes.FakeLease(leases)
    assert lease.acquire()
    kafka = fakes.FakeKafka()
    with build.running(build.an_inbound(fakes.FakeRedis(), kafka, lease, signals=standing)):
        wait_for(standing, "from redis")
    assert standing.items() == {}


def test_who_does_not_take_events_is_named_until_he_does(standing: signals.Standing) -> None:
    topic, sink, positions = fakes.FakeTopic(), fakes.FakeSink(), fakes.FakePositions()
    positions.reset(reader="redis", topic_id=topic.topic_id, next_offsets={0: 0, 1: 0})
    topic.append(build.a_record())
    sink.is_down = True
    with build.running(build.an_outbound(topic, sink, positions, signals=standing)):
        wait_for(standing, "to redis", problem="redis: the other side is down")
        sink.is_down = False
        wait_for(standing, "to redis")
        sink.wait_for(1)


def test_a_relay_tells_of_its_shard() -> None:
    said: list[tuple[str, str | None, str]] = []

    class Heard(signals.Signals):
        def says(self, item: str, problem: str | None = None, *, state: str = "ok") -> None:
            said.append((item, problem, state))

    story = relay_story.Story(failures=[ports.DependencyDown("no answer")], signals=Heard())
    story.run()
    assert said == [("shard 0", "paused: no answer", "paused"), ("shard 0", None, "active")]


def test_whoever_hears_is_told_which_events_were_taken_and_of_no_others(standing: signals.Standing) -> None:
    told: list[messages.Record] = []

    class Heard(signals.Signals):
        def passed_on(self, reader: str, events: Sequence[messages.Record], duration_s: float) -> None:
            assert (reader, duration_s > 0) == ("redis", True)
            told.extend(events)

    topic, sink, positions = fakes.FakeTopic(), fakes.FakeSink(), fakes.FakePositions()
    positions.reset(reader="redis", topic_id=topic.topic_id, next_offsets={0: 0, 1: 0})
    for headers in ((("ce_id", b"1"),), ((messages.RESENT, b"1"),), (("ce_id", b"2"),)):
        topic.append(build.a_record(headers=headers))
    with build.running(build.an_outbound(topic, sink, positions, signals=signals.Several(Heard(), standing))):
        waiting.wait_until(lambda: len(told) == 2)
        wait_for(standing, "to redis")
    assert [record.offset for record in told] == [0, 2]


def test_of_several_who_hear_each_is_told_everything() -> None:
    everything = [name for name, value in vars(signals.Signals).items() if name[0] != "_" and callable(value)]
    told: list[str] = []

    def noting(name: str) -> Callable[..., None]:
        return lambda *_said, **_more: told.append(name)

    hearing = type("Hearing", (signals.Signals,), {name: noting(name) for name in everything})
    several = signals.Several(hearing(), hearing())
    several.says("work", "no answer", state="paused")
    several.forgets("work")
    several.handled([], [], 0.1)
    several.expired(builders.a_report())
    several.retries(is_outage=True)
    several.has_partitions(signals.Partitions(set_aside={}), rebalances=1)
    several.relayed([], 0.1)
    several.forwarded([])
    several.passed_on("redis", [], 0.1)
    assert Counter(told) == dict.fromkeys(everything, 2)


@pytest.mark.parametrize(
    ("part", "port"),
    [("worker", "7000"), ("relay", "7001"), ("bridge", "7002"), ("maintenance", "7003"), ("api", None)],
)
def test_under_one_supervisor_each_part_has_a_port_of_its_own(part: str, port: str | None) -> None:
    settings = config.load(_env_file=None, health_port=7000)
    assert supervising.own_settings(part, settings).get("ALLOCATION_HEALTH_PORT") == port
    assert supervising.own_settings(part, config.load(_env_file=None)) == {}
