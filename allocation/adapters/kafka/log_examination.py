"""Whether the logs of commands still are those that the database knows, as a worker would find them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.kafka import placement, replayed_logs, topics
from allocation.service_layer import messages, reading
from allocation.service_layer.operations import positions
from allocation.service_layer.operations.verify import ports as verify

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer import unit_of_work
    from allocation.service_layer.operations.replay import ports

    Stored = Mapping[messages.LogPartition, unit_of_work.Position]


class LogExamination:
    """See `positions.Examine`; for one thread."""

    def __init__(self, config: clients.ClientConfig, *, names: Sequence[str], stored: ports.Positions) -> None:
        self._names = names
        self._stored = stored
        self._admin = topics.TopicAdmin(config)
        self._logs = replayed_logs.ReplayedLogs(config)

    def __call__(self) -> list[positions.Examined]:
        """Return what was found of each partition, in the order of topics and partitions."""
        stored, described = self._stored(), self._admin.describe(self._names)
        keys = [key for name in self._names for key in _keys(name, described.get(name), stored)]
        places = placement.Placement(self._admin, names=self._names, stored=lambda: stored).of(keys, {})
        marks = self._admin.watermarks([key for key in keys if key.topic in described])
        unknown = self._unknown(
            {key: where for key, where in places.items() if isinstance(where, placement.Place)}, stored
        )
        examined = []
        for key in keys:
            topic, where = described.get(key.topic), places[key]
            topic_id = None if topic is None else topic.topic_id
            examined.append(
                positions.Examined(
                    at=key,
                    bounds=None if topic is None else verify.Bounds(topic.topic_id, *marks[key]),
                    position=stored.get(messages.LogPartition(topic_id or "", key.partition)),
                    problem=where.problem if isinstance(where, placement.Misfit) else unknown.get(key),
                    gone=() if topic is None else _gone(key, topic, stored),
                )
            )
        return examined

    def _unknown(
        self, places: Mapping[topics.TopicPartition, placement.Place], stored: Stored
    ) -> dict[topics.TopicPartition, str]:
        """Read the records that were handled last; return those partitions where they are others now."""
        starts = {at: where.offset for at, where in places.items() if where.recognise}
        if not starts:
            return {}
        found = {
            topics.TopicPartition(record.topic, record.partition): (record.offset, reading.record_digest(record))
            for record in self._logs.between(starts, {at: offset + 1 for at, offset in starts.items()})
        }
        problems = {}
        for at, offset in starts.items():
            position = stored[messages.LogPartition(places[at].topic_id, at.partition)]
            if found.get(at) != (offset, position.last_digest):
                problems[at] = f"the record at offset {offset} is not the one that was handled"
        return problems


def _keys(name: str, topic: topics.TopicDescription | None, stored: Stored) -> list[topics.TopicPartition]:
    """Return the partitions of a topic; of one that is gone those that the database knows."""
    if topic is not None:
        return [topics.TopicPartition(name, number) for number in range(topic.partitions)]
    numbers = sorted({log.partition for log, position in stored.items() if position.topic == name})
    return [topics.TopicPartition(name, number) for number in numbers]


def _gone(
    key: topics.TopicPartition, topic: topics.TopicDescription, stored: Stored
) -> tuple[messages.LogPartition, ...]:
    """Return the logs whose place this one took; the first partition takes that of those with no successor, too."""
    return tuple(
        log
        for log, position in stored.items()
        if position.topic == key.topic
        and log.topic_id != topic.topic_id
        and (log.partition == key.partition or (not key.partition and log.partition >= topic.partitions))
    )
