"""What the relay expects of its transactions, asked of the fake and of Kafka."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Protocol

import pytest

from allocation.adapters.kafka import clients, relay_checkpoints, relay_transaction
from allocation.service_layer import ports as outside
from allocation.service_layer.relaying import checkpoints, ports
from tests import kafka_logs
from tests.fakes import relaying as fakes

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from allocation import devstack

MAX_MESSAGE_BYTES = 5000


class Subject(Protocol):
    """A shard's log, and what others see of it."""

    def open_log(self) -> AbstractContextManager[ports.TransactionLog]: ...

    def a_row(self, row_id: int, *, value: bytes = b"value") -> ports.Row: ...

    @property
    def committed(self) -> list[bytes | None]: ...


class FakeSubject:
    def __init__(self) -> None:
        self._kafka = fakes.FakeKafka(checkpoints=[], refuses=lambda row: len(row[4] or b"") > MAX_MESSAGE_BYTES)
        self.open_log = self._kafka.open_log

    def a_row(self, row_id: int, *, value: bytes = b"value") -> ports.Row:
        return (row_id, "events", None, b"key", value, "[]")

    @property
    def committed(self) -> list[bytes | None]:
        return [row[4] for row in self._kafka.committed]


class KafkaSubject:
    """One shard of its own; metadata are believed at once, since its topics are there."""

    def __init__(self, endpoints: devstack.Endpoints) -> None:
        self.endpoints = endpoints
        self.config = kafka_logs.a_config(endpoints, **{"topic.metadata.propagation.max.ms": 200})
        self.topic = kafka_logs.a_topic(endpoints, max_message_bytes=str(MAX_MESSAGE_BYTES))
        self.checkpoint_topic = kafka_logs.a_topic(endpoints)
        self._transactional_id = kafka_logs.a_name()

    def a_log(self) -> relay_transaction.RelayTransactions:
        return relay_transaction.RelayTransactions(
            self.config, topic=self.checkpoint_topic, shard=0, transactional_id=self._transactional_id
        )

    def open_log(self) -> AbstractContextManager[ports.TransactionLog]:
        return relay_transaction.open_log(
            self.config, topic=self.checkpoint_topic, shard=0, transactional_id=self._transactional_id
        )

    def a_row(
        self,
        row_id: int,
        *,
        value: bytes | None = b"value",
        key: bytes | None = b"key",
        headers: str = "[]",
        partition: int | None = None,
        topic: str | None = None,
    ) -> ports.Row:
        return (row_id, topic or self.topic, partition, key, value, headers)

    @property
    def committed(self) -> list[bytes | None]:
        return kafka_logs.values(self.endpoints, self.topic)


@pytest.fixture
def kafka(endpoints: devstack.Endpoints) -> KafkaSubject:
    return KafkaSubject(endpoints)


@pytest.fixture(params=["fake", "kafka"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return FakeSubject() if request.param == "fake" else request.getfixturevalue("kafka")


def a_checkpoint(number: int) -> checkpoints.Checkpoint:
    return checkpoints.Checkpoint(
        database_id="database", incarnation="life", number=number, runs=(checkpoints.Run(number, number),)
    )


def test_a_new_shard_has_no_checkpoint(subject: Subject) -> None:
    with subject.open_log() as log:
        assert log.last_checkpoint() is None


def test_rows_and_checkpoint_are_committed_together(subject: Subject) -> None:
    with subject.open_log() as log:
        log.send([subject.a_row(1, value=b"first"), subject.a_row(2, value=b"second")], a_checkpoint(1))
        log.send([], a_checkpoint(2))
    assert subject.committed == [b"first", b"second"]
    with subject.open_log() as log:
        assert log.last_checkpoint() == a_checkpoint(2)


@pytest.mark.parametrize("sent_before", [0, 1, 2])
def test_whoever_opens_the_log_last_is_the_only_one_who_can_send(subject: Subject, sent_before: int) -> None:
    with subject.open_log() as former:
        for number in range(sent_before):
            former.send([], a_checkpoint(number))
        with subject.open_log() as latter:
            with pytest.raises(ports.Superseded):
                former.send([subject.a_row(1, value=b"of the former")], a_checkpoint(3))
            latter.send([subject.a_row(1, value=b"of the latter")], a_checkpoint(3))
    assert subject.committed == [b"of the latter"]


def test_of_two_that_fence_each_other_off_halfway_one_can_send_once(kafka: KafkaSubject) -> None:
    """Which is the one that has fenced the first id last; the other can send nothing at all."""
    early, late = kafka.a_log(), kafka.a_log()
    with contextlib.closing(early), contextlib.closing(late):
        fence(early, 0)
        late.fence()
        fence(early, 1)
        for _ in range(2):
            with pytest.raises(ports.Superseded):
                early.send([kafka.a_row(1, value=b"of the early")], a_checkpoint(1))
        late.send([kafka.a_row(1, value=b"of the late")], a_checkpoint(1))
        with pytest.raises(ports.Superseded):
            late.send([kafka.a_row(2, value=b"of the late, once more")], a_checkpoint(2))
    assert kafka.committed == [b"of the late"]


def fence(log: relay_transaction.RelayTransactions, number: int) -> None:
    with log._clients[number].translated() as producer:  # noqa: SLF001 - only the half of what `fence` does
        producer.init_transactions(relay_transaction.INIT_TIMEOUT_S)


def test_a_row_that_is_refused_takes_the_whole_pass_with_it(subject: Subject) -> None:
    rows = [subject.a_row(1), subject.a_row(2, value=b"x" * 2 * MAX_MESSAGE_BYTES)]
    with subject.open_log() as log, pytest.raises(ports.Refused):
        log.send(rows, a_checkpoint(1))
    with subject.open_log() as log:
        assert log.last_checkpoint() is None
        log.send(rows[:1], a_checkpoint(1))
    assert subject.committed == [b"value"]


def test_keys_values_and_headers_arrive_as_the_bytes_that_they_are(kafka: KafkaSubject) -> None:
    every_byte = bytes(range(256))
    headers = [["ce_id", "1"], ["empty", ""], ["none", None], ["nul", "a\0b"], ["bytes", every_byte.decode("latin-1")]]
    with kafka.open_log() as log:
        log.send(
            [
                kafka.a_row(1, key=every_byte, value=every_byte, headers=json.dumps(headers)),
                kafka.a_row(2, key=None, value=None, headers=json.dumps(headers, ensure_ascii=False)),
                kafka.a_row(3, key=b"", value=b"", headers=json.dumps(headers[:3])),
            ],
            a_checkpoint(1),
        )
    records = kafka_logs.records(kafka.endpoints, kafka.topic)
    expected = (("ce_id", b"1"), ("empty", b""), ("none", None), ("nul", b"a\0b"), ("bytes", every_byte))
    assert [(record.key, record.value, record.headers) for record in records] == [
        (every_byte, every_byte, expected),
        (None, None, expected),
        (b"", b"", expected[:3]),
    ]


@pytest.mark.parametrize(
    "more", [{"partition": 7}, {"headers": "[1]"}, {"headers": "nonsense"}, {"headers": "[[1, 2]]"}]
)
def test_a_row_that_is_no_message_is_refused(kafka: KafkaSubject, more: dict[str, str | int]) -> None:
    with kafka.open_log() as log, pytest.raises(ports.Refused):
        log.send([kafka.a_row(1, **more)], a_checkpoint(1))  # type: ignore[arg-type] # what it is about


def test_a_missing_topic_is_an_outage_that_someone_will_mend(kafka: KafkaSubject) -> None:
    missing = kafka_logs.a_name()
    with kafka.open_log() as log, pytest.raises(outside.DependencyDown, match=missing):
        log.send([kafka.a_row(1, topic=missing)], a_checkpoint(1))


def test_a_cluster_that_is_gone_is_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_transaction, "INIT_TIMEOUT_S", 0.1)
    nowhere = relay_transaction.open_log(
        clients.ClientConfig(kafka_logs.NOWHERE), topic="topic", shard=0, transactional_id="id"
    )
    with pytest.raises(outside.DependencyDown), nowhere:
        pass


def test_the_last_checkpoint_is_found_behind_any_number_of_aborted_transactions(kafka: KafkaSubject) -> None:
    with kafka.open_log() as log:
        log.send([], a_checkpoint(1))
        log.send([], a_checkpoint(2))
    with kafka_logs.a_transactional_producer(kafka.endpoints) as producer:
        for _ in range(20):
            aborted = [a_checkpoint(3).to_json()] * 5
            kafka_logs.write_transaction(producer, kafka.checkpoint_topic, *aborted, commit=False)
    with kafka.open_log() as log:
        assert log.last_checkpoint() == a_checkpoint(2)


def test_an_open_transaction_may_hide_the_last_checkpoint_and_is_waited_for(
    kafka: KafkaSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kafka.open_log() as log:
        log.send([], a_checkpoint(1))
        with kafka_logs.a_transactional_producer(kafka.endpoints) as producer:
            kafka_logs.write_transaction(producer, kafka.checkpoint_topic, b"in between", commit=None)
            log.send([], a_checkpoint(2))
            with monkeypatch.context() as patch:
                patch.setattr(relay_checkpoints, "_SETTLE_TIMEOUT_S", 0.2)
                with pytest.raises(outside.DependencyDown, match="a transaction stays open"):
                    log.last_checkpoint()
        assert log.last_checkpoint() == a_checkpoint(2)


def test_a_record_that_is_no_checkpoint_stops_the_relay(kafka: KafkaSubject) -> None:
    with kafka_logs.a_transactional_producer(kafka.endpoints) as producer:
        kafka_logs.write_transaction(producer, kafka.checkpoint_topic, b"nonsense", commit=True)
    with kafka.open_log() as log, pytest.raises(ports.RelayStopped, match="is no checkpoint of a relay"):
        log.last_checkpoint()
