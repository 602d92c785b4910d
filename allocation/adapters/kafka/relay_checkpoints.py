"""Find the last committed checkpoint of a shard: the last record of its own partition.

The partition is compacted and full of transactions' markers and aborted records, so that its last
record may be anywhere before its end; it is looked for backwards, in steps that grow. No transaction
may be open there: a committed record behind an open one is invisible, and its rows would go out twice.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, NamedTuple

import confluent_kafka

from allocation.adapters.kafka import errors, patience
from allocation.service_layer import ports
from allocation.service_layer.relaying import checkpoints
from allocation.service_layer.relaying import ports as relaying

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation.adapters.kafka import clients

# The last record is nearly always the one before the last marker.
_FIRST_STEP = 16
_GROWTH = 64
# How long the coordinator may take to write the markers of a transaction that it has decided.
_SETTLE_TIMEOUT_S = 10.0
_REQUEST_TIMEOUT_S = 10.0
_READ_UNCOMMITTED = "read_uncommitted"
_READ_COMMITTED = "read_committed"


class _Found(NamedTuple):
    """The last committed record, if there is any, and where what is committed ends."""

    value: bytes | None
    end: int


def last(config: clients.ClientConfig, *, topic: str, partition: int) -> checkpoints.Checkpoint | None:
    """Return the last committed checkpoint, if there is any; raises `DependencyDown` and `RelayStopped`."""
    where = confluent_kafka.TopicPartition(topic, partition)
    with patience.pausing(), _translated(config, where):
        value = _last_settled_value(config, where)
    if value is None:
        return None
    try:
        return checkpoints.Checkpoint.from_json(value)
    except ValueError as error:
        raise relaying.RelayStopped(f"topic {topic}, partition {partition}: {error}") from error


def _last_settled_value(config: clients.ClientConfig, where: confluent_kafka.TopicPartition) -> bytes | None:
    """Return the last committed value once no transaction is open."""
    deadline = time.monotonic() + _SETTLE_TIMEOUT_S
    with _consumer(config, _READ_UNCOMMITTED) as every_record, _consumer(config, _READ_COMMITTED) as committed:
        while True:
            begin, end = every_record.get_watermark_offsets(where, timeout=_REQUEST_TIMEOUT_S, cached=False)
            found = _last_record(committed, where, begin=begin, end=end)
            if found.end >= end:
                return found.value
            if time.monotonic() > deadline:
                raise ports.DependencyDown(
                    f"a transaction stays open on {where.topic}/{where.partition}, which is committed up to offset "
                    f"{found.end} of {end}. Only the relay of that shard may write there; if nobody else does, Kafka "
                    "has lost the end of its transaction: see docs/guarantees.md, Which Kafka"
                )


def _last_record(
    consumer: confluent_kafka.Consumer, where: confluent_kafka.TopicPartition, *, begin: int, end: int
) -> _Found:
    step = _FIRST_STEP
    while True:
        start = max(begin, end - step)
        found = _last_record_from(consumer, where, start)
        if found.value is not None or start == begin:
            return found
        step *= _GROWTH


def _last_record_from(consumer: confluent_kafka.Consumer, where: confluent_kafka.TopicPartition, start: int) -> _Found:
    """Read from an offset on, up to the end."""
    consumer.assign([confluent_kafka.TopicPartition(where.topic, where.partition, start)])
    value = None
    deadline = time.monotonic() + _REQUEST_TIMEOUT_S
    while (left_s := deadline - time.monotonic()) > 0:
        message = consumer.poll(left_s)
        if message is None:
            continue
        error = message.error()
        if error is None:
            value = message.value()
        elif error.code() == confluent_kafka.KafkaError._PARTITION_EOF:  # noqa: SLF001 - a code of the client's own
            return _Found(value, message.offset() or 0)
        else:
            raise confluent_kafka.KafkaException(error)
    msg = f"cannot read {where.topic}/{where.partition} to its end within {_REQUEST_TIMEOUT_S:g} s"
    raise ports.DependencyDown(msg)


@contextlib.contextmanager
def _consumer(config: clients.ClientConfig, isolation_level: str) -> Iterator[confluent_kafka.Consumer]:
    settings = config.consumer(
        **{
            "isolation.level": isolation_level,
            "enable.partition.eof": True,
            # The end shows when the broker has waited that long for more (default: 500 ms).
            "fetch.wait.max.ms": 5,
        }
    )
    with contextlib.closing(confluent_kafka.Consumer(settings)) as consumer:
        yield consumer


@contextlib.contextmanager
def _translated(config: clients.ClientConfig, where: confluent_kafka.TopicPartition) -> Iterator[None]:
    try:
        yield
    except confluent_kafka.KafkaException as exception:
        error = errors.kafka_error(exception)
        action = f"read {where.topic}/{where.partition}"
        raise errors.failure(action, error, servers=config.bootstrap_servers) from exception
