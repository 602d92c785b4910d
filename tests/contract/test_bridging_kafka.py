"""The bridge's two ends on Kafka: the stand-ins behave as the real ones do."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import pytest

from allocation.adapters.kafka import event_log, forwarder, topics
from allocation.service_layer import ports as outside
from tests import kafka_logs
from tests.fakes import bridging as fakes
from tests.unit import bridging_builders

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from allocation import devstack
    from allocation.service_layer import messages
    from allocation.service_layer.bridging import ports


class ForwardingEnd(Protocol):
    def forwarder(self) -> ports.Forwarder: ...

    def committed(self) -> Sequence[bytes | None]: ...


class FakeForwardingEnd:
    def __init__(self) -> None:
        self._kafka = fakes.FakeKafka()

    def forwarder(self) -> ports.Forwarder:
        return fakes.FakeForwarder(self._kafka)

    def committed(self) -> Sequence[bytes | None]:
        return [message.value for message in self._kafka.committed]


class RealForwardingEnd:
    def __init__(self, endpoints: devstack.Endpoints, cleanup: contextlib.ExitStack) -> None:
        self._endpoints = endpoints
        self._cleanup = cleanup
        self.topic = kafka_logs.a_topic(endpoints)

    def forwarder(self) -> ports.Forwarder:
        made = forwarder.Forwarder(kafka_logs.a_config(self._endpoints), transactional_id=self.topic)
        return self._cleanup.enter_context(contextlib.closing(made))

    def committed(self) -> Sequence[bytes | None]:
        return kafka_logs.values(self._endpoints, self.topic)


@pytest.fixture(params=["fake", "kafka"])
def end(request: pytest.FixtureRequest) -> Iterator[ForwardingEnd]:
    with contextlib.ExitStack() as cleanup:
        if request.param == "fake":
            yield FakeForwardingEnd()
        else:
            yield RealForwardingEnd(request.getfixturevalue("endpoints"), cleanup)


def outgoing(end: ForwardingEnd, *values: bytes) -> Sequence[messages.OutboxMessage]:
    return [kafka_logs.a_message(getattr(end, "topic", "topic"), value) for value in values]


def test_a_group_is_committed_in_order(end: ForwardingEnd) -> None:
    forwards = end.forwarder()
    forwards.start()
    forwards.send(outgoing(end, b"1", b"2"))
    forwards.send(outgoing(end, b"3"))

    assert end.committed() == [b"1", b"2", b"3"]


def test_who_starts_last_is_the_one_that_may_send(end: ForwardingEnd) -> None:
    first, second = end.forwarder(), end.forwarder()
    first.start()
    second.start()
    with pytest.raises(outside.DependencyDown):
        first.send(outgoing(end, b"from the first"))
    second.send(outgoing(end, b"from the second"))

    assert end.committed() == [b"from the second"]


def test_a_forwarder_that_was_fenced_can_start_again(end: ForwardingEnd) -> None:
    first, second = end.forwarder(), end.forwarder()
    first.start()
    second.start()
    with pytest.raises(outside.DependencyDown):
        first.send(outgoing(end, b"1"))
    first.start()
    first.send(outgoing(end, b"1"))

    assert end.committed() == [b"1"]


class AnnouncingEnd(Protocol):
    def open(self) -> AbstractContextManager[ports.EventLog]: ...

    def append(self, value: bytes, *, partition: int) -> None: ...


class FakeAnnouncingEnd:
    def __init__(self) -> None:
        self._topic = fakes.FakeTopic(partitions=2)

    def open(self) -> AbstractContextManager[ports.EventLog]:
        return self._topic

    def append(self, value: bytes, *, partition: int) -> None:
        self._topic.append(bridging_builders.a_record(value=value, partition=partition))


class RealAnnouncingEnd:
    def __init__(self, endpoints: devstack.Endpoints, cleanup: contextlib.ExitStack) -> None:
        self._endpoints = endpoints
        self._config = kafka_logs.a_config(endpoints)
        self._topic = kafka_logs.a_topic(endpoints, partitions=2)
        self._producer = cleanup.enter_context(kafka_logs.a_transactional_producer(endpoints))

    def open(self) -> AbstractContextManager[ports.EventLog]:
        return event_log.open_log(self._config, admin=topics.TopicAdmin(self._config), topic=self._topic)

    def append(self, value: bytes, *, partition: int) -> None:
        self._producer.begin_transaction()
        self._producer.produce(self._topic, value=value, partition=partition)
        self._producer.commit_transaction()
        kafka_logs.records(self._endpoints, self._topic)  # waits until they can be seen


@pytest.fixture(params=["fake", "kafka"])
def announcing(request: pytest.FixtureRequest) -> Iterator[AnnouncingEnd]:
    with contextlib.ExitStack() as cleanup:
        if request.param == "fake":
            yield FakeAnnouncingEnd()
        else:
            yield RealAnnouncingEnd(request.getfixturevalue("endpoints"), cleanup)


def take(events: ports.EventLog, count: int) -> list[messages.Record]:
    found: list[messages.Record] = []
    while len(found) < count:
        taken = events.take(limit=count - len(found), timeout_s=10.0)
        assert taken, found
        found += taken
    return found


def test_an_empty_log_has_bounds(announcing: AnnouncingEnd) -> None:
    with announcing.open() as events:
        assert {number: low for number, (low, _) in events.bounds().items()} == {0: 0, 1: 0}
        assert {number: high for number, (_, high) in events.bounds().items()} == {0: 0, 1: 0}


def test_records_are_read_from_where_reading_was_started(announcing: AnnouncingEnd) -> None:
    announcing.append(b"history", partition=0)
    with announcing.open() as events:
        events.start({number: bounds.high for number, bounds in events.bounds().items()})
        assert list(events.take(limit=10, timeout_s=0.1)) == []
        announcing.append(b"1", partition=1)
        announcing.append(b"2", partition=1)
        found = take(events, 2)

    assert [(record.partition, record.value) for record in found] == [(1, b"1"), (1, b"2")]
    assert {record.topic_id for record in found} == {events.topic_id}


def test_what_was_read_once_is_read_again_from_the_same_place(announcing: AnnouncingEnd) -> None:
    announcing.append(b"1", partition=0)
    announcing.append(b"2", partition=0)
    with announcing.open() as events:
        events.start({0: 0, 1: 0})
        first = take(events, 2)
    with announcing.open() as events:
        events.start({0: first[0].offset + 1, 1: 0})
        assert [record.value for record in take(events, 1)] == [b"2"]
        assert not events.has_changed()


def test_a_topic_that_is_not_there_yet_is_waited_for(endpoints: devstack.Endpoints) -> None:
    config = kafka_logs.a_config(endpoints)
    with (
        pytest.raises(outside.DependencyDown, match="`allocation init` creates the topics"),
        event_log.open_log(config, admin=topics.TopicAdmin(config), topic=kafka_logs.a_name()),
    ):
        pass


def test_an_offset_that_is_not_there_is_an_error_and_no_jump(endpoints: devstack.Endpoints) -> None:
    config = kafka_logs.a_config(endpoints)
    topic = kafka_logs.a_topic(endpoints)
    with event_log.open_log(config, admin=topics.TopicAdmin(config), topic=topic) as events:
        events.start({0: 17})
        with pytest.raises(outside.DependencyDown, match=f"cannot read {topic}/0"):
            events.take(limit=1, timeout_s=10.0)
