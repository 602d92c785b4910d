from __future__ import annotations

import pytest

from allocation.service_layer import external_events, messages
from allocation.service_layer.bridging import outbound, perseverance, starting_points
from allocation.service_layer.bridging.ports import Bounds
from tests.fakes import bridging as fakes
from tests.unit import bridging_builders as build


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perseverance, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(perseverance, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(outbound, "IDLE_S", 0.01)


@pytest.fixture
def topic() -> fakes.FakeTopic:
    return fakes.FakeTopic()


@pytest.fixture
def sink() -> fakes.FakeSink:
    return fakes.FakeSink()


@pytest.fixture
def positions(topic: fakes.FakeTopic) -> fakes.FakePositions:
    """Positions of a reader that has been there from the first record on."""
    positions = fakes.FakePositions()
    positions.reset(reader="redis", topic_id=topic.topic_id, next_offsets={0: 0, 1: 0})
    return positions


def orderids(sink: fakes.FakeSink) -> list[str]:
    return [announcement.event.orderid for announcement in sink.delivered]


def test_events_are_passed_on_in_order(
    topic: fakes.FakeTopic, sink: fakes.FakeSink, positions: fakes.FakePositions
) -> None:
    for number in range(5):
        topic.append(build.a_record(orderid=f"o{number}"))
    with build.running(build.an_outbound(topic, sink, positions)):
        sink.wait_for(5)

    assert orderids(sink) == ["o0", "o1", "o2", "o3", "o4"]
    assert sink.delivered[0].event == external_events.LineAllocated("o0", "LAMP", 3, "batch-1")
    assert positions.load(reader="redis", topic_id=topic.topic_id) == {0: 5, 1: 0}


def test_an_event_is_known_by_its_id_or_else_by_its_place(
    topic: fakes.FakeTopic, sink: fakes.FakeSink, positions: fakes.FakePositions
) -> None:
    topic.append(build.a_record(headers=(("ce_id", b"event-1"),)))
    topic.append(build.a_record())
    with build.running(build.an_outbound(topic, sink, positions)):
        sink.wait_for(2)

    assert [announcement.id for announcement in sink.delivered] == ["event-1", "topic-id/0/1"]


def test_a_reader_that_never_ran_begins_at_the_end(topic: fakes.FakeTopic, sink: fakes.FakeSink) -> None:
    positions = fakes.FakePositions()
    topic.append(build.a_record(orderid="history"))
    job = build.an_outbound(topic, sink, positions)
    job.establish()
    topic.append(build.a_record(orderid="news"))
    with build.running(job):
        sink.wait_for(1)

    assert orderids(sink) == ["news"]


def test_a_reader_that_is_back_skips_nothing(
    topic: fakes.FakeTopic, sink: fakes.FakeSink, positions: fakes.FakePositions
) -> None:
    job = build.an_outbound(topic, sink, positions)
    topic.append(build.a_record(orderid="before"))
    with build.running(job):
        sink.wait_for(1)
    topic.append(build.a_record(orderid="meanwhile", partition=1))
    with build.running(job):
        sink.wait_for(2)

    assert orderids(sink) == ["before", "meanwhile"]


def test_records_marked_as_resent_are_passed_over(
    topic: fakes.FakeTopic, sink: fakes.FakeSink, positions: fakes.FakePositions
) -> None:
    topic.append(build.a_record(orderid="old", headers=((messages.RESENT, b"1"),)))
    topic.append(build.a_record(orderid="new"))
    with build.running(build.an_outbound(topic, sink, positions)):
        sink.wait_for(1)

    assert orderids(sink) == ["new"]
    assert positions.load(reader="redis", topic_id=topic.topic_id)[0] == 2


@pytest.mark.parametrize("value", [None, b"nonsense", b"\0\0\0\0\1"])
def test_a_record_that_holds_no_event_is_passed_over(
    topic: fakes.FakeTopic, sink: fakes.FakeSink, positions: fakes.FakePositions, value: bytes | None
) -> None:
    topic.append(build.a_record(value=value))
    topic.append(build.a_record(orderid="good"))
    with build.running(build.an_outbound(topic, sink, positions)):
        sink.wait_for(1)

    assert orderids(sink) == ["good"]


def test_nothing_is_skipped_while_the_other_side_is_down(
    topic: fakes.FakeTopic, sink: fakes.FakeSink, positions: fakes.FakePositions
) -> None:
    sink.is_down = True
    topic.append(build.a_record(orderid="o1"))
    with build.running(build.an_outbound(topic, sink, positions)):
        sink.wait_for_refusal()
        topic.append(build.a_record(orderid="o2"))
        sink.is_down = False
        sink.wait_for(2)

    assert orderids(sink) == ["o1", "o2"]


def test_the_position_stays_before_what_was_not_taken(
    topic: fakes.FakeTopic, sink: fakes.FakeSink, positions: fakes.FakePositions
) -> None:
    sink.is_down = True
    topic.append(build.a_record(headers=((messages.RESENT, b"1"),)))
    topic.append(build.a_record())
    with build.running(build.an_outbound(topic, sink, positions)):
        sink.wait_for_refusal()

    assert positions.load(reader="redis", topic_id=topic.topic_id)[0] == 1


def test_a_sink_that_takes_a_few_at_a_time_gets_them_all(
    topic: fakes.FakeTopic, positions: fakes.FakePositions
) -> None:
    slow_sink = fakes.FakeSink(at_once=2)
    for number in range(5):
        topic.append(build.a_record(orderid=f"o{number}"))
    with build.running(build.an_outbound(topic, slow_sink, positions)):
        slow_sink.wait_for(5)

    assert orderids(slow_sink) == ["o0", "o1", "o2", "o3", "o4"]


def test_reading_goes_on_after_an_outage_of_kafka_and_of_the_database(
    topic: fakes.FakeTopic, sink: fakes.FakeSink, positions: fakes.FakePositions
) -> None:
    topic.is_down = positions.is_down = True
    with build.running(build.an_outbound(topic, sink, positions)):
        topic.append(build.a_record(orderid="o1"))
        topic.is_down = False
        positions.is_down = False
        sink.wait_for(1)

    assert orderids(sink) == ["o1"]


def test_a_partition_that_was_added_is_read_from_its_beginning(
    topic: fakes.FakeTopic,
    sink: fakes.FakeSink,
    positions: fakes.FakePositions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbound, "CHECK_TOPIC_S", 0.0)
    with build.running(build.an_outbound(topic, sink, positions)):
        topic.append(build.a_record(orderid="o1"))
        sink.wait_for(1)
        topic.add_partition()
        topic.append(build.a_record(orderid="o2", partition=2))
        sink.wait_for(2)

    assert orderids(sink) == ["o1", "o2"]


def test_starting_points_skip_nothing_that_is_still_there() -> None:
    bounds = {0: Bounds(10, 20), 1: Bounds(10, 20), 2: Bounds(10, 20), 3: Bounds(10, 20)}

    chosen = starting_points.choose(stored={0: 15, 1: 5, 2: 25}, bounds=bounds)

    assert chosen == {0: 15, 1: 10, 2: 20, 3: 10}
