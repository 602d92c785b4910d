from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocation.adapters.kafka import fenced_producer, forwarder
from allocation.service_layer import ports
from tests import kafka_logs

if TYPE_CHECKING:
    from allocation import devstack


def test_a_commit_that_was_not_answered_is_found_in_the_log(endpoints: devstack.Endpoints) -> None:
    config, topic = kafka_logs.a_config(endpoints), kafka_logs.a_topic(endpoints)
    with kafka_logs.a_transactional_producer(endpoints) as producer:
        kafka_logs.write_transaction(producer, topic, b"given up", commit=False)
        kafka_logs.write_transaction(producer, topic, b"committed", commit=True)

        assert not forwarder.is_committed(config, fenced_producer.Delivered(topic, 0, 0))
        assert forwarder.is_committed(config, fenced_producer.Delivered(topic, 0, 2))


def test_an_aborted_message_at_the_end_of_the_log_is_not_taken_for_committed(endpoints: devstack.Endpoints) -> None:
    config, topic = kafka_logs.a_config(endpoints), kafka_logs.a_topic(endpoints)
    with kafka_logs.a_transactional_producer(endpoints) as producer:
        kafka_logs.write_transaction(producer, topic, b"given up", commit=False)

        assert not forwarder.is_committed(config, fenced_producer.Delivered(topic, 0, 0))


def test_nothing_is_concluded_while_the_transaction_of_another_hides_the_place(
    endpoints: devstack.Endpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "LOOKUP_TIMEOUT_S", 0.5)
    config, topic = kafka_logs.a_config(endpoints), kafka_logs.a_topic(endpoints)
    with (
        kafka_logs.a_transactional_producer(endpoints) as other,
        kafka_logs.a_transactional_producer(endpoints) as producer,
    ):
        kafka_logs.write_transaction(other, topic, b"still open", commit=None)
        kafka_logs.write_transaction(producer, topic, b"committed", commit=True)

        with pytest.raises(ports.DependencyDown, match="has committed offset 1"):
            forwarder.is_committed(config, fenced_producer.Delivered(topic, 0, 1))
