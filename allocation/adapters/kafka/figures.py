"""What Kafka knows of an installation: its command topics, its consumer group, its dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.kafka import group_offsets, log_reader, topics
from allocation.service_layer import messages
from allocation.service_layer.operations import status

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from allocation.adapters.kafka import clients
    from allocation.service_layer import topics as topic_names

# Counting means reading; so many are read in well under a second.
_MAX_COUNTED = 20_000


class KafkaFigures:
    """Looks at one installation; everything blocks, and raises `DependencyDown` or `KafkaRefused`."""

    def __init__(self, config: clients.ClientConfig, *, names: topic_names.TopicNames, group: str) -> None:
        self._config = config
        self._names = names
        self._group = group_offsets.GroupOffsets(config, group=group)
        self._topics = topics.TopicAdmin(config)

    def __call__(self) -> status.KafkaFigures:
        """Return all figures; topics that are missing have none."""
        cluster_id = self._topics.cluster_id()
        names = (*self._names.commands.values(), *self._names.events.values(), self._names.dead_letter)
        found = self._topics.describe(names)
        return status.KafkaFigures(
            cluster_id=cluster_id,
            partitions=self._partitions(
                {name: found[name] for name in self._names.commands.values() if name in found},
                committed=self._group.committed,
            ),
            missing_topics=tuple(name for name in names if name not in found),
            dead_letters=self._dead_letters(),
            members=self._group.members(),
        )

    def partitions(self) -> tuple[status.Partition, ...]:
        """Return the partitions of the command topics, without the group's offsets; takes some milliseconds.

        The group's coordinator is left alone, since a long-lived client asks for this: where the coordinator is not
        known yet, librdkafka 2.16 may crash, and after a broker's restart it may wait for the answer for good.
        """
        return self._partitions(self._topics.describe(self._names.commands.values()), committed=lambda _keys: {})

    def _partitions(
        self,
        found: Mapping[str, topics.TopicDescription],
        *,
        committed: Callable[[Collection[topics.TopicPartition]], Mapping[topics.TopicPartition, int]],
    ) -> tuple[status.Partition, ...]:
        keys = [
            topics.TopicPartition(name, number)
            for name, description in found.items()
            for number in range(description.partitions)
        ]
        marks, offsets = self._topics.watermarks(keys), committed(keys)
        return tuple(
            status.Partition(
                topic=key.topic,
                log=messages.LogPartition(found[key.topic].topic_id, key.partition),
                begin=marks[key].begin,
                end=marks[key].end,
                committed=offsets.get(key),
            )
            for key in keys
        )

    def _dead_letters(self) -> status.DeadLetters:
        """Count them, unless their offsets (the markers of transactions included) say that they are many."""
        name = self._names.dead_letter
        marks = self._topics.watermarks(self._topics.partitions([name]))
        offsets = sum(mark.end - mark.begin for mark in marks.values())
        if not 0 < offsets <= _MAX_COUNTED:
            return status.DeadLetters(offsets, is_exact=not offsets)
        return status.DeadLetters(sum(1 for _ in log_reader.LogReader(self._config).read([name])), is_exact=True)
