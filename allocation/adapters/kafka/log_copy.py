"""Copy a partition to another cluster so that each record has the offset that it had.

The journal names records by their offsets, and the ends of transactions take offsets, too: a copy by ordinary
means moves what lies behind them. Here the end of a transaction is copied as one, and what else readers never see
as an aborted one. The target must be empty: a copy that was cut short is begun anew.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import confluent_kafka

from allocation.adapters.kafka import errors, log_reader, topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from allocation.adapters.kafka import clients
    from allocation.service_layer import messages

_TIMEOUT_S = 60.0  # as the client's own patience for a transaction
_ROOM_TIMEOUT_S = 1.0
_FILLER = b"never committed"


class LogCopy:
    """Copies from one cluster to another; for one thread. Raises `DependencyDown` and `KafkaRefused`."""

    def __init__(self, source: clients.ClientConfig, target: clients.ClientConfig, *, transactional_id: str) -> None:
        self._source = log_reader.LogReader(source)
        self._ends = topics.TopicAdmin(source)
        self._admin = topics.TopicAdmin(target)
        self._servers = target.bootstrap_servers
        self._failure: confluent_kafka.KafkaError | None = None
        self._misplaced: str | None = None
        self._unseen = 0  # the end behind a transaction whose mark may still be on its way, 0: there is none
        self._plain = confluent_kafka.Producer(target.producer(**{"linger.ms": 5}))
        self._bound = confluent_kafka.Producer(target.producer(**{"transactional.id": transactional_id}))
        with self._translated("copy"):
            self._bound.init_transactions(_TIMEOUT_S)

    def copy(self, at: topics.TopicPartition, *, change: Callable[[messages.Record], messages.Record]) -> int:
        """Copy a partition whole; returns how many records it has."""
        # What was committed by those that were stopped a moment ago may still be hidden.
        (marks,) = self._ends.settled_watermarks(self._ends.high_watermarks([at]), timeout_s=_TIMEOUT_S).values()
        if marks.begin:
            raise errors.KafkaRefused(f"{at} has lost its records before offset {marks.begin}: it cannot be copied")
        count, last = 0, None
        with self._translated(f"copy {at}"):
            for record in self._records(at):
                self._put(at, last, until=record.offset)
                count, last = count + 1, change(record)
            self._put(at, last, until=marks.end)
            self._flush(self._plain)
            self._settle(at)
        (end,) = self._admin.high_watermarks([at]).values()
        (now,) = self._ends.high_watermarks([at]).values()
        if end != now:
            raise errors.KafkaRefused(f"{at} ends at {now}, its copy at {end}: somebody still writes to one of the two")
        return count

    def _records(self, at: topics.TopicPartition) -> Iterator[messages.Record]:
        others: dict[tuple[str, int], int] = {key: 0 for key in self._ends.partitions([at.topic]) if key != at}
        return self._source.read([at.topic], until=others)

    def _put(self, at: topics.TopicPartition, record: messages.Record | None, *, until: int) -> None:
        """Write a record, and behind it what fills the log up to an offset."""
        if record is None:
            return self._fill(at, 0, until)
        hidden = until - record.offset - 1
        if hidden != 1:
            self._settle(at)
            self._produce(self._plain, record)
            return self._fill(at, record.offset + 1, hidden)
        self._flush(self._plain)
        self._bound.begin_transaction()
        self._produce(self._bound, record)
        self._flush(self._bound)
        self._bound.commit_transaction(_TIMEOUT_S)
        self._unseen = until
        return None

    def _fill(self, at: topics.TopicPartition, offset: int, offsets: int) -> None:
        """Take that many offsets by records that nobody will read, and the mark that says so."""
        if not offsets:
            return
        self._flush(self._plain)
        self._bound.begin_transaction()
        for number in range(offsets - 1):
            self._give(self._bound, at.topic, _FILLER, partition=at.partition, expected=offset + number)
        self._flush(self._bound)
        self._bound.abort_transaction(_TIMEOUT_S)
        self._unseen = offset + offsets

    def _settle(self, at: topics.TopicPartition) -> None:
        """Wait until the mark of the last transaction is there: Kafka writes it after its answer.

        The next transaction waits for that by itself, other records do not.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        while self._unseen and self._admin.high_watermarks([at])[at] < self._unseen:
            if time.monotonic() > deadline:
                raise errors.KafkaRefused(f"{at} at {self._servers} does not get the end of a transaction")
        self._unseen = 0

    def _produce(self, producer: confluent_kafka.Producer, record: messages.Record) -> None:
        self._give(
            producer,
            record.topic,
            record.value,
            key=record.key,
            partition=record.partition,
            timestamp=record.timestamp_ms,
            headers=list(record.headers),
            expected=record.offset,
        )

    def _give(
        self, producer: confluent_kafka.Producer, topic: str, value: bytes | None, *, expected: int, **details: Any
    ) -> None:
        def note(error: confluent_kafka.KafkaError | None, delivered: confluent_kafka.Message) -> None:
            if error is not None:
                self._failure = self._failure or error
            elif delivered.offset() != expected:
                where = f"{delivered.topic()}/{delivered.partition()}"
                self._misplaced = f"what was at {where}/{expected} came to offset {delivered.offset()}"

        while True:
            try:
                producer.produce(topic, value, on_delivery=note, **details)
            except BufferError:
                producer.poll(_ROOM_TIMEOUT_S)
            else:
                producer.poll(0)
                return

    def _flush(self, producer: confluent_kafka.Producer) -> None:
        left = producer.flush(_TIMEOUT_S)
        if self._failure is not None:
            raise confluent_kafka.KafkaException(self._failure)
        if self._misplaced is not None:
            raise errors.KafkaRefused(f"{self._misplaced}: somebody else writes to the new cluster")
        if left:
            raise confluent_kafka.KafkaException(confluent_kafka.KafkaError(confluent_kafka.KafkaError._TIMED_OUT))  # noqa: SLF001 - a code of the client's own

    @contextlib.contextmanager
    def _translated(self, action: str) -> Iterator[None]:
        try:
            yield
        except confluent_kafka.KafkaException as exception:
            error = errors.kafka_error(exception)
            raise errors.failure(action, error, servers=self._servers) from exception
