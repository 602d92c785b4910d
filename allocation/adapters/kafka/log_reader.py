"""Read whole partitions as the log that they are: no group, no commits, only what was committed.

What a transaction aborted is never seen. A reader that is told to stop at the end stops where the end
was when it began, also if that end is a transaction's marker, which is no message.
"""

from __future__ import annotations

import enum
import sys
import time
from typing import TYPE_CHECKING

import confluent_kafka

from allocation.adapters.kafka import clients, errors, headers, topics
from allocation.service_layer import messages, ports

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

# How soon `stop` is asked again while nothing comes.
_POLL_TIMEOUT_S = 0.1
# Messages taken at once; each costs some hundred bytes while it waits.
_CHUNK = 1000
# No message and no end for so long, though there should be one: Kafka does not answer.
STALL_TIMEOUT_S = 30.0

_NO_EPOCH = -1
_NEVER = sys.maxsize  # beyond every offset


class Start(enum.Enum):
    """Where to begin in each partition."""

    BEGINNING = "beginning"
    END = "end"


class LogReader:
    """Reads any topics of one cluster; may be used again and again, by one thread at a time."""

    def __init__(self, config: clients.ClientConfig) -> None:
        self._config = config
        self._admin = topics.TopicAdmin(config)

    def read(
        self,
        names: Sequence[str],
        *,
        start: Start | Mapping[topics.TopicPartition, int] = Start.BEGINNING,
        until: Mapping[tuple[str, int], int] | None = None,
        follow: bool = False,
        stop: Callable[[], bool] = lambda: False,
        settle_timeout_s: float = 0.0,
    ) -> Generator[messages.Record]:
        """Yield the records of all partitions, each partition in its order.

        Begins at `start` (a partition that the mapping does not name: at its beginning). Ends where the
        partitions ended at the call, or before the offsets `until` where those come first, or with `follow`
        never; in any case soon after `stop` returns True. What was committed at the call but cannot be seen yet
        is waited for within `settle_timeout_s`.
        Close the iterator if you leave it early. Raises `KafkaRefused` for a topic that does not exist
        and for an offset that is no longer there, `DependencyDown` where Kafka does not answer.
        """
        described = self._describe(names)
        begins, ends = self._bounds(described, start, settle_timeout_s)
        if until is not None:
            ends = {partition: min(end, until.get(partition, end)) for partition, end in ends.items()}
        if follow:
            ends = dict.fromkeys(begins, _NEVER)
        pending = {partition: end for partition, end in ends.items() if begins[partition] < end}
        if not pending:
            return
        # The end shows when the broker has waited that long for more (default: 500 ms).
        settings = {"enable.partition.eof": True, "fetch.wait.max.ms": 500 if follow else 5}
        consumer = clients.opened(confluent_kafka.Consumer, self._config.consumer(**settings))
        try:
            consumer.assign([confluent_kafka.TopicPartition(*partition, begins[partition]) for partition in pending])
            yield from self._read(consumer, described, pending, stop)
        finally:
            consumer.close()

    def _describe(self, names: Sequence[str]) -> dict[str, topics.TopicDescription]:
        described = self._admin.describe(names)
        missing = [name for name in names if name not in described]
        if missing:
            msg = (
                f"cannot read {', '.join(missing)}: there is no such topic at {self._config.bootstrap_servers}; "
                "`allocation init` creates the topics"
            )
            raise errors.KafkaRefused(msg)
        return described

    def _bounds(
        self,
        described: Mapping[str, topics.TopicDescription],
        start: Start | Mapping[topics.TopicPartition, int],
        settle_timeout_s: float,
    ) -> tuple[dict[topics.TopicPartition, int], dict[topics.TopicPartition, int]]:
        partitions = [
            topics.TopicPartition(name, number)
            for name, description in described.items()
            for number in range(description.partitions)
        ]
        if settle_timeout_s:
            written = self._admin.high_watermarks(partitions)
            marks = self._admin.settled_watermarks(written, timeout_s=settle_timeout_s)
        else:
            marks = self._admin.watermarks(partitions)
        begins = {partition: mark.end if start is Start.END else mark.begin for partition, mark in marks.items()}
        if not isinstance(start, Start):
            begins.update(start)
        return begins, {partition: mark.end for partition, mark in marks.items()}

    def _read(
        self,
        consumer: confluent_kafka.Consumer,
        described: Mapping[str, topics.TopicDescription],
        pending: dict[topics.TopicPartition, int],
        stop: Callable[[], bool],
    ) -> Iterator[messages.Record]:
        """Yield what lies before the end of each pending partition, and strike it off when it is reached."""
        last_progress = time.monotonic()
        while pending and not stop():
            chunk = _poll(consumer)
            if chunk:
                last_progress = time.monotonic()
            elif time.monotonic() - last_progress > STALL_TIMEOUT_S and _NEVER not in pending.values():
                raise self._stalled(pending)
            for message in chunk:
                partition = topics.TopicPartition(message.topic() or "", message.partition() or 0)
                next_offset = self._next_offset(message)
                end = pending.get(partition, 0)
                if message.error() is None and next_offset <= end:
                    yield record_of(message, described[partition.topic].topic_id)
                if next_offset >= end:
                    pending.pop(partition, None)

    def _next_offset(self, message: confluent_kafka.Message) -> int:
        """Return the offset behind a message, or the end of the partition that was reported."""
        error = message.error()
        offset = message.offset() or 0
        if error is None:
            return offset + 1
        if error.code() == confluent_kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001 - marks a local code
            return offset
        where = f"read {message.topic()}[{message.partition()}] at offset {offset}"
        raise errors.failure(where, error, servers=self._config.bootstrap_servers)

    def _stalled(self, pending: Mapping[topics.TopicPartition, int]) -> ports.DependencyDown:
        (topic, number), end = next(iter(pending.items()))
        msg = (
            f"cannot read {topic}[{number}] up to offset {end}: Kafka at {self._config.bootstrap_servers} "
            f"has sent nothing for {STALL_TIMEOUT_S:g} s"
        )
        return ports.DependencyDown(msg)


def _poll(consumer: confluent_kafka.Consumer) -> list[confluent_kafka.Message]:
    """Wait for one message, then take those that are there already."""
    first = consumer.poll(_POLL_TIMEOUT_S)
    return [] if first is None else [first, *consumer.consume(_CHUNK - 1, 0)]


def record_of(message: confluent_kafka.Message, topic_id: str) -> messages.Record:
    """Return a message of the client as a record of the topic with this id."""
    epoch = message.leader_epoch()
    return messages.Record(
        topic=message.topic() or "",
        topic_id=topic_id,
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        leader_epoch=_NO_EPOCH if epoch is None else epoch,
        key=message.key(),
        value=message.value(),
        headers=headers.read(message),
        timestamp_ms=message.timestamp()[1],
    )
