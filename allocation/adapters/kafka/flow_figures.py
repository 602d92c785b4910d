"""What Kafka knows of the flow, for one who asks each second: the group's coordinator is left alone, see `figures`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from allocation.adapters.kafka import group_offsets, log_reader, topics
from allocation.service_layer import messages
from allocation.service_layer.operations import status
from allocation.service_layer.operations.overview import figures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allocation.adapters.kafka import clients
    from allocation.service_layer import topics as topic_names

# Counting means reading; so many new ones are read in well under a second.
_MAX_COUNTED = 20_000

_Marks = dict[topics.TopicPartition, topics.Watermarks]


class FlowFigures:
    """Looks at the topics of one installation; blocks, and raises `DependencyDown` or `KafkaRefused`."""

    def __init__(self, config: clients.ClientConfig, *, names: topic_names.TopicNames) -> None:
        self._names = names
        self._topics = topics.TopicAdmin(config)
        self._letters = _Letters(config, topic=names.dead_letter)

    def __call__(self) -> figures.Logs:
        """Return all figures; topics that are missing have none."""
        commands, events = tuple(self._names.commands.values()), tuple(self._names.events.values())
        names = (*commands, *events, self._names.dead_letter)
        found = self._topics.describe(names)
        keys = [
            topics.TopicPartition(name, number)
            for name in names
            if name in found
            for number in range(found[name].partitions)
        ]
        marks = self._topics.watermarks(keys)
        return figures.Logs(
            partitions=tuple(_partition(key, marks[key], found) for key in keys if key.topic in commands),
            events={name: sum(mark.end for key, mark in marks.items() if key.topic == name) for name in events},
            missing_topics=tuple(name for name in names if name not in found),
            dead_letters=self._letters.count(
                {key: mark for key, mark in marks.items() if key.topic == self._names.dead_letter}
            ),
        )

    def cluster_id(self) -> str:
        """Return the id that the cluster was formatted with."""
        return self._topics.cluster_id()


def members(config: clients.ClientConfig, *, group: str) -> tuple[status.Member, ...]:
    """Return who is in the group, asked by a new client: one that lives long may wait for ever, see `figures`."""
    return group_offsets.GroupOffsets(config, group=group).members()


def _partition(
    key: topics.TopicPartition, mark: topics.Watermarks, found: Mapping[str, topics.TopicDescription]
) -> status.Partition:
    log = messages.LogPartition(found[key.topic].topic_id, key.partition)
    return status.Partition(topic=key.topic, log=log, begin=mark.begin, end=mark.end, committed=None)


class _Letters:
    """Counts dead letters; each is read once, unless there are too many."""

    def __init__(self, config: clients.ClientConfig, *, topic: str) -> None:
        self._config = config
        self._topic = topic
        self._counted: Counter[int] = Counter()
        self._ends: dict[topics.TopicPartition, int] = {}

    def count(self, marks: _Marks) -> status.DeadLetters:
        starts = {key: max(self._ends.get(key, mark.begin), mark.begin) for key, mark in marks.items()}
        if any(starts[key] > mark.end for key, mark in marks.items()):  # the topic was made anew
            self._counted, starts = Counter(), {key: mark.begin for key, mark in marks.items()}
        new = sum(mark.end - starts[key] for key, mark in marks.items())
        if new > _MAX_COUNTED:
            return status.DeadLetters(sum(mark.end - mark.begin for mark in marks.values()), is_exact=False)
        if new:
            ends = {(key.topic, key.partition): mark.end for key, mark in marks.items()}
            found = log_reader.LogReader(self._config).read([self._topic], start=starts, until=ends)
            self._counted.update(record.partition for record in found)
        self._ends = {key: mark.end for key, mark in marks.items()}
        return status.DeadLetters(self._counted.total(), is_exact=True)
