from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import confluent_kafka
import pytest

from allocation.adapters.kafka import consumer, placement, topics
from tests import kafka_logs, waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from allocation import devstack


def a_member(endpoints: devstack.Endpoints, topic: str, protocol: str) -> consumer.GroupConsumer:
    config = kafka_logs.a_config(endpoints)
    return consumer.GroupConsumer(
        config,
        names=[topic],
        places=placement.Placement(topics.TopicAdmin(config), names=[topic], stored=dict),
        group=topic,
        instance_id=None,
        protocol=protocol,
        session_timeout_ms=2000,
        give_up=lambda: False,
    )


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_partition_that_was_paused_when_it_was_taken_away_is_read_when_it_is_back(
    endpoints: devstack.Endpoints, protocol: str
) -> None:
    topic = kafka_logs.a_topic(endpoints, partitions=2)
    producer = confluent_kafka.Producer({"bootstrap.servers": endpoints.kafka_bootstrap_servers})
    for number in range(2):
        producer.produce(topic, b"value", partition=number)
    producer.flush()
    with contextlib.closing(a_member(endpoints, topic, protocol)) as member:
        read_from(member, until={0, 1}.issubset)
        for number in range(2):
            member.set_aside(topic, number, "a test says so")
        with contextlib.closing(a_member(endpoints, topic, protocol)) as other:
            taken_away = read_from(other, until=bool, while_polling=member)
        read_from(member, until=taken_away.issubset)


def read_from(
    member: consumer.GroupConsumer,
    *,
    until: Callable[[set[int]], bool],
    while_polling: consumer.GroupConsumer | None = None,
) -> set[int]:
    """Wait until a member has read from partitions that are enough, and return which."""
    found: set[int] = set()

    def is_done() -> bool:
        if while_polling is not None:
            while_polling.poll(10, timeout_s=0.05)
        found.update(record.partition for record in member.poll(10, timeout_s=0.05))
        return until(found)

    waiting.wait_until(is_done, deadline_s=30.0)
    return found
