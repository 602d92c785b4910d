"""Whole topics with their bounds, as `verify` compares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.kafka import errors, log_reader, topics
from allocation.service_layer.operations.verify import ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer import messages


class WholeLogs:
    """See `verify.ports.Logs`; for one thread."""

    def __init__(self, config: clients.ClientConfig) -> None:
        self._servers = config.bootstrap_servers
        self._admin = topics.TopicAdmin(config)
        self._reader = log_reader.LogReader(config)

    def bounds(self, names: Sequence[str]) -> Mapping[ports.TopicPartition, ports.Bounds]:
        """Return the bounds of all partitions; raises `KafkaRefused` for a topic that does not exist."""
        described = self._admin.describe(names)
        missing = [name for name in names if name not in described]
        if missing:
            msg = f"there is no topic {', '.join(missing)} at {self._servers}; `allocation init` creates the topics"
            raise errors.KafkaRefused(msg)
        marks = self._admin.watermarks(
            [
                topics.TopicPartition(name, number)
                for name, description in described.items()
                for number in range(description.partitions)
            ]
        )
        return {
            partition: ports.Bounds(described[partition.topic].topic_id, mark.begin, mark.end)
            for partition, mark in marks.items()
        }

    def read(self, names: Sequence[str], *, until: Mapping[ports.TopicPartition, int]) -> Iterator[messages.Record]:
        """Yield the records before these offsets, each partition in its order."""
        return self._reader.read(names, until=until)
