"""What Kafka knows of an installation: its command topics, its consumer group, its dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka import admin

from allocation.adapters.kafka import clients, errors, log_reader, topics
from allocation.service_layer import messages
from allocation.service_layer.operations import status

if TYPE_CHECKING:
    from concurrent import futures

    from allocation.service_layer import topics as topic_names

# Counting means reading; so many are read in well under a second.
_MAX_COUNTED = 20_000


class KafkaFigures:
    """Looks at one installation; everything blocks, and raises `DependencyDown` or `KafkaRefused`."""

    def __init__(self, config: clients.ClientConfig, *, names: topic_names.TopicNames, group: str) -> None:
        self._config = config
        self._names = names
        self._group = group
        self._topics = topics.TopicAdmin(config)
        self._admin = clients.opened(admin.AdminClient, config.admin())  # type: ignore[arg-type] # it takes callbacks

    def __call__(self) -> status.KafkaFigures:
        """Return all figures; topics that are missing have none."""
        cluster_id = self._topics.cluster_id()
        names = (*self._names.commands.values(), *self._names.events.values(), self._names.dead_letter)
        found = self._topics.describe(names)
        return status.KafkaFigures(
            cluster_id=cluster_id,
            partitions=self._partitions({name: found[name] for name in self._names.commands.values() if name in found}),
            missing_topics=tuple(name for name in names if name not in found),
            dead_letters=self._dead_letters(),
            members=self._members(),
        )

    def _partitions(self, found: dict[str, topics.TopicDescription]) -> tuple[status.Partition, ...]:
        keys = [
            topics.TopicPartition(name, number)
            for name, description in found.items()
            for number in range(description.partitions)
        ]
        marks, committed = self._topics.watermarks(keys), self._committed()
        return tuple(
            status.Partition(
                topic=key.topic,
                log=messages.LogPartition(found[key.topic].topic_id, key.partition),
                begin=marks[key].begin,
                end=marks[key].end,
                committed=committed.get(key),
            )
            for key in keys
        )

    def _committed(self) -> dict[topics.TopicPartition, int]:
        asked = self._admin.list_consumer_group_offsets(
            [confluent_kafka.ConsumerGroupTopicPartitions(self._group)], request_timeout=topics.REQUEST_TIMEOUT_S
        )
        found = self._result(asked[self._group])
        return {
            topics.TopicPartition(at.topic, at.partition): at.offset for at in found.topic_partitions if at.offset >= 0
        }

    def _members(self) -> tuple[status.Member, ...]:
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

    def _dead_letters(self) -> status.DeadLetters:
        """Count them, unless their offsets (the markers of transactions included) say that they are many."""
        name = self._names.dead_letter
        marks = self._topics.watermarks(self._topics.partitions([name]))
        offsets = sum(mark.end - mark.begin for mark in marks.values())
        if not 0 < offsets <= _MAX_COUNTED:
            return status.DeadLetters(offsets, is_exact=not offsets)
        return status.DeadLetters(sum(1 for _ in log_reader.LogReader(self._config).read([name])), is_exact=True)

    def _result(self, asked: futures.Future[Any]) -> Any:
        try:
            return asked.result()
        except confluent_kafka.KafkaException as exception:
            error, action = errors.kafka_error(exception), f"describe group {self._group}"
            raise errors.failure(action, error, servers=self._config.bootstrap_servers) from exception
