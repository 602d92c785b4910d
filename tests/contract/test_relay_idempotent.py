"""What the relay expects of a log without transactions, asked of the fake and of Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from allocation.adapters.kafka import clients, relay_idempotent
from allocation.service_layer import ports as outside
from allocation.service_layer.relaying import checkpoints, ports
from tests import kafka_logs
from tests.fakes import relaying as fakes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from allocation import devstack

MAX_MESSAGE_BYTES = 5000
CHECKPOINT = checkpoints.Checkpoint(database_id="database", incarnation="life", number=1)


class Subject(Protocol):
    """A shard's log, and what others see of it."""

    def open_log(self) -> AbstractContextManager[ports.Log]: ...

    def a_row(self, row_id: int, *, value: bytes = b"value") -> ports.Row: ...

    @property
    def sent(self) -> Sequence[bytes | None]: ...


class FakeSubject:
    def __init__(self) -> None:
        self._kafka = fakes.FakeKafka(refuses=lambda row: len(row[4] or b"") > MAX_MESSAGE_BYTES)
        self.open_log = self._kafka.open_idempotent_log

    def a_row(self, row_id: int, *, value: bytes = b"value") -> ports.Row:
        return (row_id, "events", None, b"key", value, "[]")

    @property
    def sent(self) -> Sequence[bytes | None]:
        return [row[4] for row in self._kafka.committed]


class KafkaSubject:
    def __init__(self, endpoints: devstack.Endpoints) -> None:
        self._endpoints = endpoints
        self._config = kafka_logs.a_config(endpoints, **{"topic.metadata.propagation.max.ms": 200})
        self._topic = kafka_logs.a_topic(endpoints, max_message_bytes=str(MAX_MESSAGE_BYTES))

    def open_log(self) -> AbstractContextManager[ports.Log]:
        return relay_idempotent.open_log(self._config)

    def a_row(
        self, row_id: int, *, value: bytes = b"value", topic: str | None = None, headers: str = "[]"
    ) -> ports.Row:
        return (row_id, topic or self._topic, None, b"key", value, headers)

    @property
    def sent(self) -> Sequence[bytes | None]:
        return kafka_logs.values(self._endpoints, self._topic)


@pytest.fixture
def kafka(endpoints: devstack.Endpoints) -> KafkaSubject:
    return KafkaSubject(endpoints)


@pytest.fixture(params=["fake", "kafka"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return FakeSubject() if request.param == "fake" else request.getfixturevalue("kafka")


def test_rows_are_sent_in_their_order_and_no_checkpoint_is_kept(subject: Subject) -> None:
    with subject.open_log() as log:
        log.send([subject.a_row(1, value=b"first"), subject.a_row(2, value=b"second")], CHECKPOINT)
        log.send([subject.a_row(3, value=b"third")], CHECKPOINT)
        assert log.last_checkpoint() is None
    assert subject.sent == [b"first", b"second", b"third"]


def test_what_is_sent_again_is_there_twice(subject: Subject) -> None:
    for _ in range(2):
        with subject.open_log() as log:
            log.send([subject.a_row(1)], CHECKPOINT)
    assert subject.sent == [b"value"] * 2


def test_behind_a_row_that_is_refused_nothing_is_sent_on_its_partition(subject: Subject) -> None:
    values = [b"%d" % number for number in range(4000)]
    values[2000] = b"x" * 2 * MAX_MESSAGE_BYTES
    with subject.open_log() as log:
        log.send([subject.a_row(0, value=b"before")], CHECKPOINT)  # from here on several requests are under way
        with pytest.raises(ports.Refused):
            log.send([subject.a_row(row_id, value=value) for row_id, value in enumerate(values, start=1)], CHECKPOINT)
    assert len(subject.sent) <= 1 + 2000
    assert list(subject.sent) == [b"before", *values][: len(subject.sent)]


def test_a_row_that_is_refused_when_it_stands_alone_is_known_to_be_the_one(subject: Subject) -> None:
    with subject.open_log() as log:
        log.send([subject.a_row(1)], CHECKPOINT)
        with pytest.raises(ports.Refused):
            log.send([subject.a_row(2, value=b"x" * 2 * MAX_MESSAGE_BYTES)], CHECKPOINT)


def test_a_row_that_is_no_message_is_refused(kafka: KafkaSubject) -> None:
    with kafka.open_log() as log, pytest.raises(ports.Refused, match="row 1 is no message"):
        log.send([kafka.a_row(1, headers="nonsense")], CHECKPOINT)


def test_a_missing_topic_is_an_outage_that_someone_will_mend(kafka: KafkaSubject) -> None:
    missing = kafka_logs.a_name()
    with kafka.open_log() as log, pytest.raises(outside.DependencyDown, match=missing):
        log.send([kafka.a_row(1, topic=missing)], CHECKPOINT)


def test_a_cluster_that_is_gone_is_an_outage(kafka: KafkaSubject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_idempotent, "SEND_TIMEOUT_S", 0.1)
    with (
        relay_idempotent.open_log(clients.ClientConfig(kafka_logs.NOWHERE)) as log,
        pytest.raises(outside.DependencyDown, match="has not confirmed 1 messages"),
    ):
        log.send([kafka.a_row(1)], CHECKPOINT)
