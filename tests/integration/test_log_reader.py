"""Whole partitions read back from a real cluster."""

from __future__ import annotations

import itertools
import time
from concurrent import futures
from typing import TYPE_CHECKING

import pytest

from allocation.adapters.kafka import clients, errors, log_reader, producer, topics
from allocation.service_layer import ports
from tests import kafka_logs, stopwatch, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack


@pytest.fixture
def reader(endpoints: devstack.Endpoints) -> log_reader.LogReader:
    return log_reader.LogReader(kafka_logs.a_config(endpoints))


@pytest.fixture
def sender(endpoints: devstack.Endpoints) -> Iterator[producer.Producer]:
    with producer.Producer(kafka_logs.a_config(endpoints)) as opened:
        yield opened


def test_a_record_tells_all_about_its_message(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints, partitions=2)
    before_ms = time.time_ns() // 1_000_000
    sender.send(kafka_logs.a_message(topic, b"value", key=b"sku", headers=(("ce_id", b"1"),), partition=1))

    (record,) = reader.read([topic])
    assert record._replace(timestamp_ms=0) == (
        topic,
        topics.TopicAdmin(kafka_logs.a_config(endpoints)).describe([topic])[topic].topic_id,
        *(1, 0, 0, b"sku", b"value", (("ce_id", b"1"),), 0),
    )
    assert before_ms <= record.timestamp_ms <= time.time_ns() // 1_000_000


def test_all_partitions_of_all_topics_are_read_each_in_its_order(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader, sender: producer.Producer
) -> None:
    names = [kafka_logs.a_topic(endpoints, partitions=3) for _ in range(2)]
    sender.send_all(
        kafka_logs.a_message(name, b"%d" % number, partition=number % 3) for name in names for number in range(3000)
    )
    found: dict[tuple[str, int], list[int]] = {}
    for record in reader.read(names):
        found.setdefault((record.topic, record.partition), []).append(int(record.value or b""))
    assert found == {(name, partition): list(range(partition, 3000, 3)) for name in names for partition in range(3)}


def test_an_empty_topic_has_no_records(endpoints: devstack.Endpoints, reader: log_reader.LogReader) -> None:
    topic = kafka_logs.a_topic(endpoints, partitions=6)
    assert list(reader.read([topic])) == []
    assert stopwatch.is_quick(lambda: list(reader.read([topic])), within_s=1)


def test_only_committed_records_are_seen_and_a_marker_at_the_end_is_no_obstacle(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    with kafka_logs.a_transactional_producer(endpoints) as transactional:
        kafka_logs.write_transaction(transactional, topic, b"a", b"b", commit=True)
        kafka_logs.write_transaction(transactional, topic, b"never", commit=False)
        kafka_logs.write_transaction(transactional, topic, b"c", commit=True)
        kafka_logs.write_transaction(transactional, topic, b"never", b"never", commit=False)
        found = [(record.offset, record.value) for record in reader.read([topic])]
    assert found == [(0, b"a"), (1, b"b"), (5, b"c")]


def test_a_log_of_aborted_records_alone_ends(endpoints: devstack.Endpoints, reader: log_reader.LogReader) -> None:
    topic = kafka_logs.a_topic(endpoints)
    with kafka_logs.a_transactional_producer(endpoints) as transactional:
        kafka_logs.write_transaction(transactional, topic, b"never", commit=False)
        assert list(reader.read([topic])) == []


def test_what_is_committed_a_moment_later_is_waited_for_if_wanted(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader
) -> None:
    """As of a relay that was told of its commit before the markers are written."""
    topic = kafka_logs.a_topic(endpoints)
    with kafka_logs.a_transactional_producer(endpoints) as transactional, futures.ThreadPoolExecutor(1) as pool:
        kafka_logs.write_transaction(transactional, topic, b"a", commit=None)
        reading = pool.submit(lambda: [record.value for record in reader.read([topic], settle_timeout_s=30)])
        with pytest.raises(TimeoutError):
            reading.result(0.3)
        transactional.commit_transaction()
        assert reading.result(10) == [b"a"]


def test_the_reader_stops_before_an_open_transaction(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    with kafka_logs.a_transactional_producer(endpoints) as transactional:
        kafka_logs.write_transaction(transactional, topic, b"a", commit=True)
        kafka_logs.write_transaction(transactional, topic, b"open", commit=None)
        sender.send(kafka_logs.a_message(topic, b"behind"))
        assert [record.value for record in reader.read([topic])] == [b"a"]


def test_the_end_is_where_it_was_when_the_reader_began(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints, partitions=2)
    sender.send_all(kafka_logs.a_message(topic, b"early", partition=number % 2) for number in range(10))
    reading = reader.read([topic])
    found = [next(reading)]
    sender.send_all(kafka_logs.a_message(topic, b"late", partition=number % 2) for number in range(10))
    found += reading
    assert [record.value for record in found] == [b"early"] * 10


def test_reading_may_begin_at_given_offsets(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints, partitions=3)
    sender.send_all(kafka_logs.a_message(topic, partition=number % 3) for number in range(9))
    start = {topics.TopicPartition(topic, 0): 2, topics.TopicPartition(topic, 1): 3}
    found = sorted((record.partition, record.offset) for record in reader.read([topic], start=start))
    assert found == [(0, 2), (2, 0), (2, 1), (2, 2)]


def test_from_the_end_only_what_comes_later_is_seen(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    sender.send(kafka_logs.a_message(topic, b"early"))
    assert list(reader.read([topic], start=log_reader.Start.END)) == []

    sent = iter([b"late", b"later"])

    def send_one_at_each_look() -> bool:
        value = next(sent, None)
        if value is not None:
            sender.send(kafka_logs.a_message(topic, value))
        return False

    following = reader.read([topic], start=log_reader.Start.END, follow=True, stop=send_one_at_each_look)
    found = list(itertools.islice(following, 2))
    following.close()
    assert [record.value for record in found] == [b"late", b"later"]


def test_a_follower_stops_soon_after_it_is_told_to(endpoints: devstack.Endpoints, reader: log_reader.LogReader) -> None:
    topic = kafka_logs.a_topic(endpoints)

    def follow() -> None:
        deadline = time.monotonic() + 0.3
        assert list(reader.read([topic], follow=True, stop=lambda: time.monotonic() > deadline)) == []

    assert stopwatch.is_quick(follow, within_s=1.3)


def test_a_reader_that_is_left_early_may_read_again(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    sender.send_all(kafka_logs.a_message(topic) for _ in range(5))
    reading = reader.read([topic])
    next(reading)
    reading.close()
    assert len(list(reader.read([topic]))) == 5


def test_no_group_is_left_behind(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    sender.send(kafka_logs.a_message(topic))
    list(reader.read([topic]))
    group = str(kafka_logs.a_config(endpoints).consumer()["group.id"])
    listed = kafka_logs.raw_admin(endpoints).list_consumer_groups(request_timeout=10).result()
    assert group not in {found.group_id for found in listed.valid}


def test_a_topic_that_does_not_exist_is_named_with_the_remedy(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader
) -> None:
    there, missing = kafka_logs.a_topic(endpoints), kafka_logs.a_name()
    with pytest.raises(errors.KafkaRefused, match=f"cannot read {missing}: there is no such topic.*allocation init"):
        list(reader.read([there, missing]))


def test_an_offset_that_is_not_there_is_an_error_and_no_jump(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    sender.send(kafka_logs.a_message(topic))
    start = {topics.TopicPartition(topic, 0): 7}
    with pytest.raises(errors.KafkaRefused, match=rf"cannot read {topic}\[0\] at offset 7"):
        list(reader.read([topic], start=start, follow=True))


def test_records_that_were_deleted_are_an_error_and_no_jump(
    endpoints: devstack.Endpoints, reader: log_reader.LogReader, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    sender.send_all(kafka_logs.a_message(topic) for _ in range(5))
    kafka_logs.delete_records(endpoints, topic, before=3)
    waiting.wait_until(lambda: [record.offset for record in reader.read([topic])] == [3, 4])
    with pytest.raises(errors.KafkaRefused, match=rf"cannot read {topic}\[0\] at offset 1"):
        list(reader.read([topic], start={topics.TopicPartition(topic, 0): 1}))


def test_a_cluster_that_does_not_answer_is_a_dependency_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "REQUEST_TIMEOUT_S", 0.2)
    reader = log_reader.LogReader(clients.ClientConfig(kafka_logs.NOWHERE))
    with pytest.raises(ports.DependencyDown, match=r"127\.0\.0\.1:1"):
        list(reader.read(["orders"]))


def test_a_cluster_that_goes_away_meanwhile_is_a_dependency_that_is_down(
    breakable_stack: devstack.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_reader, "STALL_TIMEOUT_S", 0.5)
    topic = kafka_logs.a_topic(breakable_stack.endpoints)
    with producer.Producer(kafka_logs.a_config(breakable_stack.endpoints)) as sender:
        for _ in range(3):
            sender.send(kafka_logs.a_message(topic))

    def kill() -> bool:
        if breakable_stack.kafka.is_running:
            breakable_stack.kafka.kill()
        return False

    # However soon the client fetches, it has one record by then: the next one it fetches when that is taken.
    one_by_one = {"queued.min.messages": 1, "max.partition.fetch.bytes": 1}
    reader = log_reader.LogReader(kafka_logs.a_config(breakable_stack.endpoints, **one_by_one))
    with pytest.raises(ports.DependencyDown, match=rf"cannot read {topic}\[0\] up to offset 3.*nothing for 0.5 s"):
        list(reader.read([topic], stop=kill))
