from __future__ import annotations

from concurrent import futures
from typing import TYPE_CHECKING

import confluent_kafka
import pytest

from allocation.adapters.kafka import announced, errors, producer, topics, whole_logs
from allocation.service_layer.operations.replay import ports as replay
from allocation.service_layer.operations.verify import ports
from tests import kafka_logs

if TYPE_CHECKING:
    from allocation import devstack


def test_a_log_has_an_id_and_bounds_and_is_read_up_to_any_offset(endpoints: devstack.Endpoints) -> None:
    topic, clients = kafka_logs.a_topic(endpoints, partitions=2), kafka_logs.a_config(endpoints)
    with producer.Producer(clients) as kafka:
        kafka.send_all(kafka_logs.a_message(topic, b"%d" % number, partition=1) for number in range(3))
    logs = whole_logs.WholeLogs(clients)
    bounds = logs.bounds([topic])
    topic_id = topics.TopicAdmin(clients).describe([topic])[topic].topic_id
    assert bounds == {(topic, 0): ports.Bounds(topic_id, 0, 0), (topic, 1): ports.Bounds(topic_id, 0, 3)}
    assert [record.value for record in logs.read([topic], until={(topic, 1): 2})] == [b"0", b"1"]
    assert [record.value for record in logs.read([topic], until={(topic, 1): 0})] == []
    assert len(list(logs.read([topic], until={}))) == len(list(logs.read([topic], until={(topic, 1): 9}))) == 3


def test_a_topic_that_is_missing_is_named(endpoints: devstack.Endpoints) -> None:
    missing = kafka_logs.a_name()
    with pytest.raises(errors.KafkaRefused, match=rf"^there is no topic {missing} at .*; `allocation init` creates"):
        whole_logs.WholeLogs(kafka_logs.a_config(endpoints)).bounds([missing])


def test_what_a_transaction_has_written_is_waited_for_and_else_told_as_hidden(endpoints: devstack.Endpoints) -> None:
    topic, clients = kafka_logs.a_topic(endpoints), kafka_logs.a_config(endpoints)
    kafka = confluent_kafka.Producer(clients.producer(**{"transactional.id": topic}))
    kafka.init_transactions(10)
    kafka.begin_transaction()
    kafka.produce(topic, b"value")
    kafka.flush(10)
    [hiding] = whole_logs.WholeLogs(clients, settle_timeout_s=0).bounds([topic]).values()
    assert (hiding.end, hiding.hidden) == (0, 1)
    restored = announced.AnnouncedTopics(clients, journal_topic=topic, open_shards=[], settle_timeout_s=0)
    with pytest.raises(replay.CannotReplay, match=f"{topic}/0 hides 1 records from offset 0 on behind a transaction"):
        restored.fenced().__enter__()
    with futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(whole_logs.WholeLogs(clients).bounds, [topic])
        kafka.commit_transaction(10)
        [settled] = waiting.result(10).values()
    assert settled.end >= 1
    assert settled.hidden == 0
