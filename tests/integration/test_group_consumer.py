from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import confluent_kafka
import pytest
from confluent_kafka import admin

from allocation.adapters.kafka import consumer, placement, topics
from tests import kafka_logs, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from allocation import devstack


class OutdatedAtFirst(placement.Placement):
    """Places as if nothing had been deleted; the second time as it is."""

    _is_first = True

    def of(
        self, keys: Collection[placement.Key], committed: Mapping[placement.Key, int]
    ) -> dict[placement.Key, placement.Place | placement.Misfit]:
        places = super().of(keys, committed)
        if self._is_first:
            places = {
                key: where._replace(offset=0) if isinstance(where, placement.Place) else where
                for key, where in places.items()
            }
        self._is_first = False
        return places


def a_member(
    endpoints: devstack.Endpoints, topic: str, protocol: str, *, places: type[placement.Placement] = placement.Placement
) -> consumer.GroupConsumer:
    config = kafka_logs.a_config(endpoints)
    return consumer.GroupConsumer(
        config,
        names=[topic],
        places=places(topics.TopicAdmin(config), names=[topic], stored=dict),
        group=topic,
        instance_id=None,
        protocol=protocol,
        session_timeout_ms=2000,
        give_up=lambda: False,
    )


def a_topic_with_records(endpoints: devstack.Endpoints, *partitions: int) -> str:
    """Return a topic of two partitions, with a record in each place of these."""
    topic = kafka_logs.a_topic(endpoints, partitions=2)
    producer = confluent_kafka.Producer({"bootstrap.servers": endpoints.kafka_bootstrap_servers})
    for number in partitions:
        producer.produce(topic, b"value", partition=number)
    producer.flush()
    return topic


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_partition_that_was_paused_when_it_was_taken_away_is_read_when_it_is_back(
    endpoints: devstack.Endpoints, protocol: str
) -> None:
    topic = a_topic_with_records(endpoints, 0, 1)
    with contextlib.closing(a_member(endpoints, topic, protocol)) as member:
        read_from(member, until={0, 1}.issubset)
        for number in range(2):
            member.set_aside(topic, number, "a test says so")
        with contextlib.closing(a_member(endpoints, topic, protocol)) as other:
            taken_away = read_from(other, until=bool, while_polling=member)
        read_from(member, until=taken_away.issubset)


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_partition_that_the_client_has_given_up_is_read_on_where_it_begins_now(
    endpoints: devstack.Endpoints, protocol: str
) -> None:
    topic = a_topic_with_records(endpoints, 0, 0, 0, 1)
    client = admin.AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap_servers})
    for deleted in client.delete_records([confluent_kafka.TopicPartition(topic, 0, 2)]).values():
        deleted.result()
    with contextlib.closing(a_member(endpoints, topic, protocol, places=OutdatedAtFirst)) as member:
        read_from(member, until={0, 1}.issubset)


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
