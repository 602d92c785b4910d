"""What an operator, or a fault of the cluster, does to the topics of an installation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka import admin

from tests import waiting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.chaos import system as systems

_DEADLINE_S = 30.0


class Topics:
    """The installation's topics, named without their prefix."""

    def __init__(self, system: systems.System) -> None:
        self._prefix = system.settings.topic_prefix
        self._client = admin.AdminClient({"bootstrap.servers": system.settings.kafka_bootstrap_servers})

    def create(self, topics: Iterable[str], *, partitions: int) -> None:
        """Make topics."""
        for topic in topics:
            name = self._prefix + topic
            waiting.wait_until(lambda: self._is_made(name, partitions), deadline_s=_DEADLINE_S)  # noqa: B023 - called at once

    def create_anew(self, topic: str, *, partitions: int) -> None:
        """Delete a topic with all that is in it, and make it again."""
        name = self._prefix + topic
        self._client.delete_topics([name])[name].result()
        self.create([topic], partitions=partitions)

    def add_partitions(self, topic: str, *, to: int) -> None:
        """Give a topic more partitions, and wait until it has them."""
        name = self._prefix + topic
        self._client.create_partitions([admin.NewPartitions(name, to)])[name].result()
        waiting.wait_until(
            lambda: len(self._client.list_topics(name, timeout=10).topics[name].partitions) == to,
            deadline_s=_DEADLINE_S,
        )

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete the records before an offset, as retention does."""
        where = confluent_kafka.TopicPartition(self._prefix + topic, partition, offset)
        for done in self._client.delete_records([where]).values():
            done.result()

    def set_config(self, topic: str, name: str, value: str) -> None:
        """Change a setting of a topic."""
        entry: Any = admin.ConfigEntry(name, value, incremental_operation=admin.AlterConfigOpType.SET)
        resource = admin.ConfigResource("topic", self._prefix + topic, incremental_configs=[entry])
        self._client.incremental_alter_configs([resource])[resource].result()

    def _is_made(self, name: str, partitions: int) -> bool:
        try:
            self._client.create_topics([admin.NewTopic(name, partitions, 1)])[name].result()
        except confluent_kafka.KafkaException:
            return False
        return True
