"""Where each partition of a member of the group stands, and which of the fetched records are taken.

Guards that a record is taken only of a partition that flows, and only when it lies behind the one that was taken
before. A partition does one of four: it flows, is held until others have caught up, waits to be placed anew, or is
set aside. Asks nobody; what is to be fetched from where is the client's to do, and a call of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import confluent_kafka
import structlog

from allocation.adapters.kafka import headers, placement, topics
from allocation.service_layer import messages, signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

log = structlog.get_logger()

_END = confluent_kafka.KafkaError._PARTITION_EOF  # noqa: SLF001 - librdkafka's own codes begin so
_LOST_LOG = frozenset((confluent_kafka.KafkaError._AUTO_OFFSET_RESET, confluent_kafka.KafkaError.OFFSET_OUT_OF_RANGE))  # noqa: SLF001 - see above

# Made once for every record that comes: the named tuple's own constructor takes as long again.
_record: Callable[[tuple[Any, ...]], messages.Record] = partial(tuple.__new__, messages.Record)

Key = topics.TopicPartition


@dataclass(slots=True)
class Flow:
    """How far a partition was taken; `recognise` while the next record is the one that was handled last."""

    next_offset: int
    recognise: bool


class Assignment:
    """The partitions by what they do, for others to read; used by one thread.

    `pause` is to stop the client fetching of some, `on_placed` hears of each log that is read from its stored
    position now. `topic_ids` are as they were when a partition of the topic was placed last.
    """

    def __init__(
        self, *, pause: Callable[[Iterable[Key]], None], on_placed: Callable[[messages.LogPartition], None]
    ) -> None:
        self._pause = pause
        self._on_placed = on_placed
        self._ends: dict[Key, messages.LogEnd] = {}
        self.topic_ids: dict[str, str] = {}
        self.flowing: dict[Key, Flow] = {}
        self.held: dict[Key, placement.Place] = {}
        self.unplaced: set[Key] = set()
        self.aside: dict[Key, str] = {}

    def take(self, fetched: Iterable[Any]) -> tuple[list[messages.Record], list[Any]]:
        """Return the records that are to be handled, and the errors that are the client's and of no partition."""
        records, errors = [], []
        flowing, topic_ids, read_headers = self.flowing, self.topic_ids, headers.read
        for message in fetched:
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            error = message.error()
            if error is not None:
                if not self._is_of_a_partition(error, topic, partition, offset):
                    errors.append(message)
                continue
            flow = flowing.get((topic, partition))  # type: ignore[call-overload]  # equal to the key
            if flow is None:  # it stands still, or was revoked by the call that fetched what follows it
                continue
            if offset != flow.next_offset and not self._goes_on(Key(topic, partition), flow, offset):
                continue
            flow.next_offset, flow.recognise = offset + 1, False
            records.append(
                _record(
                    (
                        topic,
                        topic_ids[topic],
                        partition,
                        offset,
                        message.leader_epoch() or 0,
                        message.key(),
                        message.value(),
                        read_headers(message),
                        message.timestamp()[1],
                    )
                )
            )
        return records, errors

    def take_ends(self) -> Iterable[messages.LogEnd]:
        """Return the ends that were reached since the last call."""
        ends, self._ends = self._ends, {}
        return ends.values()

    def place(self, key: Key, where: placement.Place | placement.Misfit) -> None:
        """Let a partition flow from its place, or be held there, or set it aside."""
        if isinstance(where, placement.Misfit):
            self.set_aside(key, where.problem)
            return
        self.forget(key)
        self.topic_ids[key.topic] = where.topic_id
        self._on_placed(messages.LogPartition(where.topic_id, key.partition))
        if where.after:
            self._pause([key])
            self.held[key] = where
            log.info("worker.partition_held", topic=key.topic, partition=key.partition, logs=len(where.after))
        else:
            self.flowing[key] = Flow(where.offset, where.recognise)

    def let_go(self, key: Key) -> None:
        """Let a partition flow that was held."""
        where = self.held.pop(key)
        self.flowing[key] = Flow(where.offset, where.recognise)

    def awaited(self) -> Mapping[Key, Mapping[messages.LogPartition, int]]:
        """Return how far which logs must be handled before those that are held may flow.

        One of another topic that is set aside holds up nothing.
        """
        aside = {
            messages.LogPartition(self.topic_ids[key.topic], key.partition): key.topic
            for key in self.aside
            if key.topic in self.topic_ids
        }
        return {
            key: {log_: end for log_, end in where.after.items() if aside.get(log_, key.topic) == key.topic}
            for key, where in self.held.items()
        }

    def look_again(self, keys: Iterable[Key]) -> None:
        """Have partitions placed anew, since their logs may be other ones now; what is set aside stays so."""
        keys = [key for key in keys if key in self.flowing or key in self.held]
        for key in keys:
            self.forget(key)
        self._pause(keys)
        self.unplaced.update(keys)

    def look_again_at(self, names: Iterable[str]) -> None:
        """Have all partitions of these topics placed anew."""
        wanted = set(names)
        self.look_again([key for key in (*self.flowing, *self.held) if key.topic in wanted])

    def set_aside(self, key: Key, problem: str) -> None:
        """Take nothing more from a partition that is not the log which the database knows."""
        self.forget(key)
        self._pause([key])
        self.aside[key] = problem
        remedy = "`allocation position adopt` or `restart`"
        log.error("worker.partition_diverged", topic=key.topic, partition=key.partition, problem=problem, remedy=remedy)

    def forget(self, key: Key) -> None:
        """Know nothing of a partition any more."""
        self.flowing.pop(key, None)
        self.held.pop(key, None)
        self.unplaced.discard(key)
        self.aside.pop(key, None)
        self._ends.pop(key, None)

    def partitions(self, *, committed: Mapping[Key, int]) -> signals.Partitions:
        """Return what there is, with the offsets that the group has."""
        return signals.Partitions(
            assigned=len(self.flowing) + len(self.held) + len(self.unplaced) + len(self.aside),
            held=tuple(str(key) for key in sorted(self.held)),
            set_aside={str(key): self.aside[key] for key in sorted(self.aside)},
            committed={(key.topic, key.partition): offset for key, offset in committed.items()},
        )

    def _goes_on(self, key: Key, flow: Flow, offset: int) -> bool:
        """Tell whether what is not simply the next is to be taken all the same: not every offset is a record's."""
        if offset < flow.next_offset:
            self.look_again([key])
        elif flow.recognise:
            problem = f"the record at offset {flow.next_offset}, which was handled last, is no longer there"
            self.set_aside(key, problem)
        return key in self.flowing

    def _is_of_a_partition(self, error: confluent_kafka.KafkaError, topic: str, partition: int, offset: int) -> bool:
        """Deal with an error that says something of a partition, and tell whether it did."""
        key = Key(topic, partition)
        if error.code() in _LOST_LOG:
            self.look_again([key])
        elif error.code() != _END:
            return False
        elif key in self.flowing:
            log_ = messages.LogPartition(self.topic_ids[topic], partition)
            self._ends[key] = messages.LogEnd(topic, log_, self.flowing[key].next_offset, offset)
        return True
