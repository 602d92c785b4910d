"""The dead-letter topic, all of it or single places, without any group: reading it changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.kafka import errors, log_reader, topics, whole_logs
from allocation.service_layer.operations import dead_letters

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from allocation.adapters.kafka import clients
    from allocation.service_layer import messages


class DeadLetterLog:
    """See `dead_letters.Log`. What the relay was told is committed is waited for within `settle_timeout_s`."""

    def __init__(
        self, config: clients.ClientConfig, *, topic: str, settle_timeout_s: float = whole_logs.SETTLE_TIMEOUT_S
    ) -> None:
        self._topic = topic
        self._settle_timeout_s = settle_timeout_s
        self._admin = topics.TopicAdmin(config)
        self._reader = log_reader.LogReader(config)

    def read(self, places: Collection[dead_letters.Place] = ()) -> Iterator[messages.Record]:
        """Yield the records, each partition in its order; with `places`, those there, as far as they exist."""
        if not places:
            yield from self._reader.read([self._topic], settle_timeout_s=self._settle_timeout_s)
            return
        written = self._admin.high_watermarks(self._admin.partitions([self._topic]))
        marks = self._admin.settled_watermarks(written, timeout_s=self._settle_timeout_s)
        starts, until = self._span(places, marks)
        for record in self._reader.read([self._topic], start=starts, until=until):
            if dead_letters.Place(record.partition, record.offset) in places:
                yield record

    def begins(self) -> tuple[str, list[int]]:
        """Return the topic's id, and the first offset that each partition still has; raises `KafkaRefused`."""
        described = self._admin.describe([self._topic])
        if self._topic not in described:
            raise errors.KafkaRefused(f"there is no topic {self._topic}; `allocation init` creates the topics")
        marks = self._admin.watermarks(self._admin.partitions([self._topic]))
        return described[self._topic].topic_id, [mark.begin for _, mark in sorted(marks.items())]

    def _span(
        self, places: Collection[dead_letters.Place], marks: Mapping[topics.TopicPartition, topics.Watermarks]
    ) -> tuple[dict[topics.TopicPartition, int], dict[tuple[str, int], int]]:
        """Return from where to where the places lie in each partition; nothing of one without any."""
        starts = {partition: mark.begin for partition, mark in marks.items()}
        until = {(name, number): mark.begin for (name, number), mark in marks.items()}
        for partition, mark in marks.items():
            offsets = [
                place.offset
                for place in places
                if place.partition == partition.partition and mark.begin <= place.offset < mark.end
            ]
            if offsets:
                starts[partition], until[partition] = min(offsets), max(offsets) + 1
        return starts, until
