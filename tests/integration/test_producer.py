"""Messages on their way to a real broker, and to one that is not there."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from concurrent import futures
from typing import TYPE_CHECKING

import pytest

from allocation.adapters.kafka import clients, errors, producer
from allocation.service_layer import messages, ports
from tests import kafka_logs, murmur2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack

PARTITIONS = 6


@pytest.fixture
def sender(endpoints: devstack.Endpoints) -> Iterator[producer.Producer]:
    with producer.Producer(kafka_logs.a_config(endpoints)) as opened:
        yield opened


def a_lost_sender(*, delivery_timeout_s: float) -> producer.Producer:
    """Return a producer whose broker does not answer."""
    return producer.Producer(clients.ClientConfig(kafka_logs.NOWHERE), delivery_timeout_s=delivery_timeout_s)


def some_messages(topic: str, count: int, *, keys: int = 7) -> Iterator[messages.OutboxMessage]:
    for number in range(count):
        yield kafka_logs.a_message(topic, b"%d" % number, key=b"key-%d" % (number % keys))


def test_a_message_lies_where_the_acknowledgement_says(
    endpoints: devstack.Endpoints, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints, partitions=PARTITIONS)
    headers = (("ce_id", b"1"), ("empty", b""), ("none", None), ("ce_id", b"2"))
    delivered = sender.send(kafka_logs.a_message(topic, b"\0value", key=b"sku", headers=headers))

    (record,) = kafka_logs.records(endpoints, topic)
    assert (record.topic, record.partition, record.offset) == delivered
    assert (record.key, record.value, record.headers) == (b"sku", b"\0value", headers)


@pytest.mark.parametrize(("key", "value"), [(None, b"value"), (b"key", None), (b"", b"")])
def test_nothing_and_empty_stay_what_they_are(
    endpoints: devstack.Endpoints, sender: producer.Producer, key: bytes | None, value: bytes | None
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    sender.send(kafka_logs.a_message(topic, value, key=key))
    (record,) = kafka_logs.records(endpoints, topic)
    assert (record.key, record.value) == (key, value)


def test_keys_go_to_the_partitions_that_java_picks(endpoints: devstack.Endpoints, sender: producer.Producer) -> None:
    topic = kafka_logs.a_topic(endpoints, partitions=PARTITIONS)
    keys = [b"21", b"foobar", b"a-little-bit-long-string", "LÄMPCHEN-é-✓".encode(), b"\xff\x80"]
    keys += [b"SKU-%d" % number for number in range(200)]
    sender.send_all(kafka_logs.a_message(topic, key=key) for key in keys)

    found = {record.key: record.partition for record in kafka_logs.records(endpoints, topic)}
    assert found == {key: murmur2.partition(key, PARTITIONS) for key in keys}
    assert set(found.values()) == set(range(PARTITIONS))


def test_a_message_may_name_its_partition(endpoints: devstack.Endpoints, sender: producer.Producer) -> None:
    topic = kafka_logs.a_topic(endpoints, partitions=PARTITIONS)
    for partition in range(PARTITIONS):
        assert sender.send(kafka_logs.a_message(topic, partition=partition)).partition == partition


def test_many_messages_arrive_once_each_and_in_order_of_their_key(
    endpoints: devstack.Endpoints, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints, partitions=PARTITIONS)
    acknowledged: Counter[int] = Counter()
    count = sender.send_all(
        some_messages(topic, 30_000), on_delivery=lambda delivered: acknowledged.update([delivered.partition])
    )

    records = kafka_logs.records(endpoints, topic)
    assert count == 30_000
    assert Counter(record.partition for record in records) == acknowledged
    by_key: dict[bytes | None, list[int]] = {}
    for record in records:
        by_key.setdefault(record.key, []).append(int(record.value or b""))
    assert by_key == {b"key-%d" % key: list(range(key, 30_000, 7)) for key in range(7)}


def test_no_more_is_taken_than_may_be_on_its_way(endpoints: devstack.Endpoints, sender: producer.Producer) -> None:
    topic = kafka_logs.a_topic(endpoints, partitions=PARTITIONS)
    acknowledged = itertools.count()
    done, most = 0, 0

    def counted() -> Iterator[messages.OutboxMessage]:
        nonlocal most
        for taken, message in enumerate(some_messages(topic, 30_000)):
            most = max(most, taken - done)
            yield message

    def take_note(_delivered: producer.Delivered) -> None:
        nonlocal done
        done = next(acknowledged)

    sender.send_all(counted(), on_delivery=take_note)
    assert 0 < most <= producer._MAX_IN_FLIGHT + 1  # noqa: SLF001


def test_messages_that_do_not_fit_into_the_queue_at_once_wait_for_room(endpoints: devstack.Endpoints) -> None:
    topic = kafka_logs.a_topic(endpoints)
    config = kafka_logs.a_config(endpoints, **{"queue.buffering.max.messages": 10})
    with producer.Producer(config) as sender:
        assert sender.send_all(some_messages(topic, 500)) == 500
    assert len(kafka_logs.records(endpoints, topic)) == 500


def test_threads_may_share_a_producer(endpoints: devstack.Endpoints, sender: producer.Producer) -> None:
    topic = kafka_logs.a_topic(endpoints, partitions=PARTITIONS)
    with futures.ThreadPoolExecutor(8) as pool:
        delivered = list(pool.map(sender.send, some_messages(topic, 400)))
    assert len(set(delivered)) == 400
    assert {(record.topic, record.partition, record.offset) for record in kafka_logs.records(endpoints, topic)} == set(
        delivered
    )


def test_nothing_to_send_is_nothing_sent(sender: producer.Producer) -> None:
    assert sender.send_all([]) == 0


def test_a_message_that_is_too_large_is_refused_and_the_next_one_goes_through(
    endpoints: devstack.Endpoints, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints, max_message_bytes="1000")
    with pytest.raises(errors.KafkaRefused, match=rf"cannot send to {topic}.*MSG_SIZE_TOO_LARGE"):
        sender.send(kafka_logs.a_message(topic, b"x" * 2000))
    with pytest.raises(errors.KafkaRefused, match=rf"cannot send to {topic}.*MSG_SIZE_TOO_LARGE"):
        sender.send(kafka_logs.a_message(topic, b"x" * 2 * clients.MAX_DEAD_LETTER_BYTES))
    assert sender.send(kafka_logs.a_message(topic)).offset == 0


def test_a_batch_stops_at_the_first_message_that_is_refused(
    endpoints: devstack.Endpoints, sender: producer.Producer
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    too_large = kafka_logs.a_message(topic, b"x" * 2 * clients.MAX_DEAD_LETTER_BYTES)
    with pytest.raises(errors.KafkaRefused):
        sender.send_all([kafka_logs.a_message(topic, b"before"), too_large, kafka_logs.a_message(topic, b"after")])
    assert kafka_logs.values(endpoints, topic) == [b"before"]


def test_a_topic_that_does_not_exist_is_refused_with_the_remedy(endpoints: devstack.Endpoints) -> None:
    topic = kafka_logs.a_name()
    told = rf"cannot send to {topic}: it does not exist.*allocation init"
    config = kafka_logs.a_config(endpoints, **{"topic.metadata.propagation.max.ms": 100})
    with producer.Producer(config) as sender, pytest.raises(errors.KafkaRefused, match=told):
        sender.send(kafka_logs.a_message(topic))


def test_a_broker_that_does_not_answer_is_a_dependency_that_is_down() -> None:
    with a_lost_sender(delivery_timeout_s=0.5) as sender:
        with pytest.raises(
            ports.DependencyDown, match=r"cannot send to orders: Kafka at 127\.0\.0\.1:1 does not answer"
        ):
            sender.send(kafka_logs.a_message("orders"))
        with pytest.raises(ports.DependencyDown, match=r"127\.0\.0\.1:1"):
            sender.send_all(some_messages("orders", 20_000))


def test_a_caller_waits_no_longer_than_it_wants_to() -> None:
    with a_lost_sender(delivery_timeout_s=60) as sender:
        started = time.monotonic()
        with pytest.raises(ports.DependencyDown, match=r"127\.0\.0\.1:1 did not confirm it within 0.05 s"):
            sender.send(kafka_logs.a_message("orders"), timeout_s=0.05)
        assert time.monotonic() - started < 30


def test_a_broker_that_is_killed_meanwhile_costs_no_message_and_repeats_none(breakable_stack: devstack.Stack) -> None:
    endpoints = breakable_stack.endpoints
    topic = kafka_logs.a_topic(endpoints, partitions=PARTITIONS)

    def interrupted() -> Iterator[messages.OutboxMessage]:
        for number, message in enumerate(some_messages(topic, 20_000)):
            if number == 12_000:
                breakable_stack.kafka.kill()
                breakable_stack.kafka.start()
            yield message

    with producer.Producer(kafka_logs.a_config(endpoints), delivery_timeout_s=90) as sender:
        assert sender.send_all(interrupted()) == 20_000
    breakable_stack.kafka.wait_ready()
    counted = Counter(kafka_logs.values(endpoints, topic))
    assert counted == Counter(b"%d" % number for number in range(20_000))
