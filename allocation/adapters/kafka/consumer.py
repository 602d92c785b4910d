"""The worker's membership in its consumer group.

Where a partition is read from is the database's to say: the group's offset is advisory, may be moved
back at will, and is committed afterwards for the tools that show lag. An assigned partition stays
paused until it has been *placed*: topic id, log bounds and stored position looked at together. What
does not fit is left paused, and nothing of it is handled.

Sources: KIP-848, KIP-345, KIP-429; librdkafka's CONFIGURATION.md.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import confluent_kafka
import structlog

from allocation.adapters.kafka import topics as kafka_topics
from allocation.service_layer import messages, ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer import unit_of_work

log = structlog.get_logger()

_SEEK_TIMEOUT_S = 5.0
_SEEK_RETRY_S = 0.01  # an assignment takes effect within milliseconds
_COMMITTED_TIMEOUT_S = 10.0

Key = tuple[str, int]


class GroupConsumer:
    """Reads the command topics as a member of the group; used by one thread."""

    def __init__(
        self,
        config: clients.ClientConfig,
        *,
        admin: kafka_topics.TopicAdmin,
        topics: Sequence[str],
        group: str,
        instance_id: str | None,
        protocol: str,
        session_timeout_ms: int,
        stored: Callable[[], Mapping[messages.LogPartition, unit_of_work.Position]],
    ) -> None:
        self._admin = admin
        self._topics = tuple(topics)
        self._stored = stored
        self._topic_ids: dict[str, str] = {}
        self._unplaced: set[Key] = set()
        self._diverged: dict[Key, str] = {}
        self._expected: dict[Key, int] = {}
        self._ends: dict[Key, messages.LogEnd] = {}
        self._incremental = protocol == "consumer"  # KIP-848 rebalances are always incremental
        self.rebalances = 0
        settings = _membership(protocol, instance_id, session_timeout_ms)
        self._consumer = confluent_kafka.Consumer(
            config.consumer(**{"group.id": group, "enable.partition.eof": True, **settings})
        )
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def poll(self, max_records: int, *, timeout_s: float) -> Sequence[messages.Record]:
        """Return what has arrived, waiting for a first record at most this long: one in quiet times, many in a backlog.

        Places what was newly assigned; raises `DependencyDown` when that cannot be done now.
        """
        if self._unplaced:
            self._place()
        first = self._consumer.poll(timeout_s)
        if first is None:
            return ()
        return self._records([first, *self._consumer.consume(max_records - 1, 0)])

    def keep_alive(self, duration_s: float) -> None:
        """Stay in the group for a while without taking anything."""
        self._pause(self._assigned())
        deadline = time.monotonic() + duration_s
        while (left := deadline - time.monotonic()) > 0:
            message = self._consumer.poll(left)
            if message is not None and self._records([message]):  # fetched before the pause: read it again later
                self._look_again((str(message.topic()), int(message.partition() or 0)))
        resumable = [key for key in self._assigned() if key not in self._diverged and key not in self._unplaced]
        self._resume(resumable)

    def place_again(self) -> None:
        """Begin anew at the stored positions, as after a rebalance."""
        self._ends.clear()
        self._pause(self._assigned())
        self._unplaced.update(key for key in self._assigned() if key not in self._diverged)

    def set_aside(self, topic: str, partition: int, problem: str) -> None:
        """Take nothing more from a partition that is not the log which the database knows."""
        self._pause([(topic, partition)])
        self._ends.pop((topic, partition), None)
        self._unplaced.discard((topic, partition))
        self._diverged[topic, partition] = problem
        log.error("worker.partition_diverged", topic=topic, partition=partition, problem=problem)

    @property
    def diverged(self) -> Mapping[Key, str]:
        """What is set aside, and why."""
        return self._diverged

    def take_ends(self) -> Iterable[messages.LogEnd]:
        """Return the ends that were reached since the last call."""
        ends, self._ends = self._ends, {}
        return ends.values()

    def commit(self, records: Iterable[messages.Record]) -> None:
        """Tell the group how far these have been handled; does not wait, and may fail without harm."""
        following = {(record.topic, record.partition): record.offset + 1 for record in records}
        offsets = [confluent_kafka.TopicPartition(*key, offset) for key, offset in following.items()]
        with contextlib.suppress(confluent_kafka.KafkaException):
            self._consumer.commit(offsets=offsets, asynchronous=True)

    def close(self) -> None:
        """Leave the group, so that others take over at once (a static member keeps its place)."""
        self._consumer.close()

    def _records(self, fetched: Iterable[Any]) -> Sequence[messages.Record]:
        records = []
        for message in fetched:
            error = message.error()
            key = (message.topic(), message.partition())
            if error is not None:
                self._on_error(key, error, message.offset())
            elif key in self._unplaced or key in self._diverged:
                continue
            elif message.offset() < self._expected.get(key, 0):
                self._look_again(key)
            else:
                self._expected[key] = message.offset() + 1
                records.append(self._record(message))
        return records

    def _record(self, message: Any) -> messages.Record:
        topic = message.topic()
        return messages.Record(
            topic,
            self._topic_ids[topic],
            message.partition(),
            message.offset(),
            message.leader_epoch() or 0,
            message.key(),
            message.value(),
            tuple(message.headers() or ()),
            message.timestamp()[1],
        )

    def _on_error(self, key: Key, error: confluent_kafka.KafkaError, offset: int) -> None:
        code = error.code()
        if code == confluent_kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own codes begin so
            if key not in self._unplaced and key not in self._diverged:
                log_ = messages.LogPartition(self._topic_ids[key[0]], key[1])
                self._ends[key] = messages.LogEnd(key[0], log_, self._expected[key], offset)
        elif code in (confluent_kafka.KafkaError._AUTO_OFFSET_RESET, confluent_kafka.KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
            self._look_again(key)
        elif error.fatal():
            raise ports.MembershipLost(
                f"Kafka no longer lets this worker be a member of its group: {error.str()}; "
                "if another worker uses the same ALLOCATION_CONSUMER_INSTANCE_ID, give each its own"
            )
        else:
            log.warning("kafka.consumer_error", topic=key[0], partition=key[1], code=error.name(), detail=error.str())

    def _look_again(self, key: Key) -> None:
        """Place a partition anew, since its log may be another one now."""
        self._pause([key])
        self._ends.pop(key, None)
        self._unplaced.add(key)

    def _place(self) -> None:
        descriptions = self._admin.describe(self._topics)
        stored = self._stored()
        keys = sorted(self._unplaced)
        bounds = self._admin.watermarks([kafka_topics.TopicPartition(*key) for key in keys if key[0] in descriptions])
        committed = self._committed(keys)
        started = {}
        for key in keys:
            if key[0] not in descriptions:
                self.set_aside(*key, "the topic does not exist any more")
                continue
            topic_id = descriptions[key[0]].topic_id
            try:
                offset = start_offset(
                    key, topic_id, stored, bounds[kafka_topics.TopicPartition(*key)], committed.get(key)
                )
            except _DoesNotFit as problem:
                self.set_aside(*key, str(problem))
            else:
                self._start(key, topic_id, offset)
                started[f"{key[0]}/{key[1]}"] = offset
        log.info("worker.partitions_started", at=started)

    def _start(self, key: Key, topic_id: str, offset: int) -> None:
        self._topic_ids[key[0]] = topic_id
        self._expected[key] = offset
        self._seek(key, offset)
        self._unplaced.discard(key)
        self._resume([key])

    def _seek(self, key: Key, offset: int) -> None:
        deadline = time.monotonic() + _SEEK_TIMEOUT_S
        while True:
            try:
                self._consumer.seek(confluent_kafka.TopicPartition(*key, offset))
            except confluent_kafka.KafkaException as error:
                if time.monotonic() > deadline:
                    raise ports.DependencyDown(
                        f"cannot read {key[0]}/{key[1]} from offset {offset}: {error}"
                    ) from error
                time.sleep(_SEEK_RETRY_S)
            else:
                return

    def _committed(self, keys: Sequence[Key]) -> dict[Key, int]:
        try:
            found = self._consumer.committed(
                [confluent_kafka.TopicPartition(*key) for key in keys], timeout=_COMMITTED_TIMEOUT_S
            )
        except confluent_kafka.KafkaException as error:
            raise ports.DependencyDown(f"Kafka does not tell the group's offsets: {error}") from error
        return {(one.topic, one.partition): one.offset for one in found if one.offset >= 0}

    def _on_assign(self, consumer: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        for partition in partitions:
            partition.offset = confluent_kafka.OFFSET_END  # until it is placed; never read from there
        if self._incremental:
            consumer.incremental_assign(partitions)
        else:
            consumer.assign(partitions)
        keys = [(partition.topic, partition.partition) for partition in partitions]
        self._pause(keys)
        self._unplaced.update(keys)
        self.rebalances += 1
        log.info("worker.assigned", partitions=len(keys))

    def _on_revoke(self, consumer: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        for partition in partitions:
            key = (partition.topic, partition.partition)
            self._unplaced.discard(key)
            self._diverged.pop(key, None)
            self._expected.pop(key, None)
            self._ends.pop(key, None)
        if self._incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()
        self.rebalances += 1
        log.info("worker.revoked", partitions=len(partitions))

    def _assigned(self) -> list[Key]:
        return [(one.topic, one.partition) for one in self._consumer.assignment()]

    def _pause(self, keys: Iterable[Key]) -> None:
        self._consumer.pause([confluent_kafka.TopicPartition(*key) for key in keys])

    def _resume(self, keys: Iterable[Key]) -> None:
        self._consumer.resume([confluent_kafka.TopicPartition(*key) for key in keys])


class _DoesNotFit(Exception):
    """The log is not the one that the stored position belongs to."""


def start_offset(
    key: Key,
    topic_id: str,
    stored: Mapping[messages.LogPartition, unit_of_work.Position],
    bounds: kafka_topics.Watermarks,
    committed: int | None,
) -> int:
    """Return where to read a partition from.

    That is the record handled last, which is then recognised by its digest; or the group's offset if it
    was moved back. A partition without a position is read from the start of its log.
    """
    topic, number = key
    position = stored.get(messages.LogPartition(topic_id, number))
    if position is None:
        other = next((log for log, one in stored.items() if one.topic == topic and log.partition == number), None)
        if other is not None:
            raise _DoesNotFit(f"the topic was re-created: its id is {topic_id}, handled so far was {other.topic_id}")
        return bounds.begin
    if position.next_offset > bounds.end:
        raise _DoesNotFit(f"the log ends at {bounds.end}, before the stored position {position.next_offset}")
    if position.next_offset < bounds.begin:
        raise _DoesNotFit(f"the log begins at {bounds.begin}, after the stored position {position.next_offset}")
    start = position.last_offset if position.last_offset >= bounds.begin else position.next_offset
    if committed is not None and bounds.begin <= committed < start:
        return committed
    return start


def _membership(protocol: str, instance_id: str | None, session_timeout_ms: int) -> dict[str, object]:
    """Return the settings of the group; equal partition numbers of all topics belong to one member (`range`)."""
    settings: dict[str, object] = {} if instance_id is None else {"group.instance.id": instance_id}
    if protocol == "consumer":  # session and assignor are the broker's to decide
        return settings | {"group.protocol": "consumer", "group.remote.assignor": "range"}
    return settings | {
        "partition.assignment.strategy": "range",
        "session.timeout.ms": session_timeout_ms,
        "heartbeat.interval.ms": max(session_timeout_ms // 4, 1),
    }
