"""A consumer group from outside: its offsets, who is in it, and moving it (KIP-396, KIP-88).

Kafka moves the offsets of a group only while nobody is in it. A cluster that has just started, or never had a group, is
not ready for such questions at first: it is given a moment. Offsets are read by a consumer that never joins: the
admin client's way (`list_consumer_group_offsets`) crashes the process where Kafka does not know the group's
coordinator yet (librdkafka issue 5040, open as of 2.16).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import confluent_kafka
import stamina
from confluent_kafka import admin

from allocation.adapters.kafka import clients, errors, topics
from allocation.service_layer.operations import status
from allocation.service_layer.operations.replay import ports

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from concurrent import futures

_ONCE_READY = stamina.retry(on=errors.NotReady, attempts=None, timeout=topics.REQUEST_TIMEOUT_S, wait_max=0.5)
_HAS_MEMBERS = frozenset((confluent_kafka.KafkaError.UNKNOWN_MEMBER_ID, confluent_kafka.KafkaError.NON_EMPTY_GROUP))


class GroupOffsets:
    """See `replay.ports.Group`; everything blocks, and raises `DependencyDown` or `KafkaRefused`."""

    def __init__(self, config: clients.ClientConfig, *, group: str) -> None:
        self._config = config
        self._servers = config.bootstrap_servers
        self._group = group
        self._admin = clients.opened(admin.AdminClient, config.admin())  # type: ignore[arg-type] # it takes callbacks

    @_ONCE_READY
    def committed(self, partitions: Collection[ports.TopicPartition]) -> dict[ports.TopicPartition, int]:
        """Return the group's offsets of these partitions; one that it has none of is not in the answer."""
        wanted = [confluent_kafka.TopicPartition(*at) for at in partitions]
        if not wanted:
            return {}
        settings = self._config.consumer(**{"group.id": self._group})
        try:
            with contextlib.closing(confluent_kafka.Consumer(settings)) as reader:
                found = reader.committed(wanted, timeout=topics.REQUEST_TIMEOUT_S)
        except confluent_kafka.KafkaException as exception:
            raise self._failure("read the offsets of", errors.kafka_error(exception)) from exception
        return {ports.TopicPartition(at.topic, at.partition): at.offset for at in found if at.offset >= 0}

    @_ONCE_READY
    def members(self) -> tuple[status.Member, ...]:
        """Return who is in the group."""
        asked = self._admin.describe_consumer_groups([self._group], request_timeout=topics.REQUEST_TIMEOUT_S)
        found = self._result(asked[self._group])
        return tuple(
            status.Member(
                name=member.group_instance_id or member.member_id,
                host=member.host.lstrip("/"),
                partitions=len(member.assignment.topic_partitions),
            )
            for member in found.members
        )

    @_ONCE_READY
    def move(self, offsets: Mapping[ports.TopicPartition, int]) -> None:
        """Set offsets of the group; raises `MembersActive`."""
        wanted = [confluent_kafka.TopicPartition(*at, offset) for at, offset in offsets.items()]
        asked = self._admin.alter_consumer_group_offsets(
            [confluent_kafka.ConsumerGroupTopicPartitions(self._group, wanted)],
            request_timeout=topics.REQUEST_TIMEOUT_S,
        )
        for one in self._result(asked[self._group]).topic_partitions:
            if one.error is not None:
                raise self._failure("move", one.error)

    def _result(self, asked: futures.Future[Any]) -> Any:
        try:
            return asked.result()
        except confluent_kafka.KafkaException as exception:
            raise self._failure("describe", errors.kafka_error(exception)) from exception

    def _failure(self, action: str, error: confluent_kafka.KafkaError) -> Exception:
        if error.code() in _HAS_MEMBERS:
            return ports.MembersActive(["one that has just joined"])
        return errors.failure(f"{action} group {self._group}", error, servers=self._servers)
