"""Whole topics with their bounds, as `verify` compares them.

Whoever was told of a commit must find its records, so the ends are those behind all that was written by now; only for a
transaction that does not end nobody waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.kafka import errors, log_reader, topics
from allocation.service_layer.operations.verify import ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer import messages


SETTLE_TIMEOUT_S = 10.0  # a relay's transaction takes milliseconds; its timeout would be a minute


class WholeLogs:
    """See `verify.ports.Logs`; for one thread. What does not settle within `settle_timeout_s` is told as hidden."""

    def __init__(self, config: clients.ClientConfig, *, settle_timeout_s: float = SETTLE_TIMEOUT_S) -> None:
        self._settle_timeout_s = settle_timeout_s
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
        partitions = [
            topics.TopicPartition(name, number)
            for name, description in described.items()
            for number in range(description.partitions)
        ]
        written = self._admin.high_watermarks(partitions)
        marks = self._admin.settled_watermarks(written, timeout_s=self._settle_timeout_s)
        return {
            partition: ports.Bounds(
                described[partition.topic].topic_id, mark.begin, mark.end, max(0, written[partition] - mark.end)
            )
            for partition, mark in marks.items()
        }

    def read(self, names: Sequence[str], *, until: Mapping[ports.TopicPartition, int]) -> Iterator[messages.Record]:
        """Yield the records before these offsets, each partition in its order."""
        return self._reader.read(names, until=until)
