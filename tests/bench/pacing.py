"""A sender at a steady rate: `python -m tests.bench.pacing commands | rows RATE COUNT SKUS`.

The time at which something was due is a part of its orderid, so that the event brings it along. It counts
also when the sender was late: a system that makes its senders wait must not look quick for it. Senders are elsewhere in
real life; here they must take as little of the machine as they can.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

import confluent_kafka

from allocation import bootstrap, config
from allocation.domain import commands as domain
from allocation.entrypoints import stopping
from allocation.service_layer import envelopes, messages
from tests.bench import commands, installation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_What = TypeVar("_What")

_WIRE_HEADER_BYTES = 5
_NS_PER_S = 1_000_000_000
# At high rates what is due is sent in groups, as a producer with Kafka 4's default does it (`linger.ms`, KIP-1030): a
# request for each command would cost the broker more than the commands do.
_HIGH_RATE = 1_000
_LINGER_S = 0.005
_SHORTEST_SLEEP_S = 0.0005
_FIRST_AFTER_S = 1.0
_MAKING_S = 0.0003  # at most so long for each command, on a machine that does other things too
_INSERT = """
INSERT INTO outbox (shard, topic, key, value, headers, sku)
VALUES (0, %s, 'sku-1', %s, '[["ce_id", "1"], ["ce_source", "allocation"]]', 'sku-1');
NOTIFY allocation
"""


def due_ns(value: bytes) -> int:
    """Return when an event was due, from its first field (Avro: twice the length, then text)."""
    begin = _WIRE_HEADER_BYTES + 1
    orderid = value[begin : begin + (value[_WIRE_HEADER_BYTES] >> 1)]
    return int(orderid.partition(b"-")[2])


def send_commands(settings: config.Settings, rate: float, count: int, skus: int) -> None:
    """Send so many commands, each when it is due; they are made before."""
    with bootstrap.database(settings) as engine, bootstrap.serde(settings, engine) as serde:
        wrapping = envelopes.Envelopes(topics=bootstrap.topic_names(settings), serializer=serde)
        dues = _dues(rate, count, begin_after_s=_FIRST_AFTER_S + count * _MAKING_S)
        orders = zip(dues, commands.uniform(count, skus=skus), strict=True)
        made = [_wrapped(wrapping, domain.Allocate(_orderid(due), sku, 1)) for due, sku in orders]
        gc.freeze()
        _send(settings, _when_due(dues, made, in_groups_of_s=_LINGER_S if rate >= _HIGH_RATE else 0.0))


def _send(settings: config.Settings, outgoing: Iterator[messages.OutboxMessage]) -> None:
    lost = {"on_delivery": _raise, "delivery.report.only.error": True}
    producer = confluent_kafka.Producer(bootstrap.kafka_clients(settings).producer(**lost))
    for message in outgoing:
        producer.produce(message.topic, message.value, message.key, headers=list(message.headers))
        producer.poll(0)
    producer.flush()


def _raise(error: confluent_kafka.KafkaError, _message: confluent_kafka.Message) -> None:
    raise confluent_kafka.KafkaException(error)


def insert_rows(settings: config.Settings, rate: float, count: int, _skus: int) -> None:
    """Insert so many rows into the outbox, each when it is due."""
    topic = bootstrap.topic_names(settings).line_allocated
    with contextlib.closing(installation.connect(settings.database_url)) as connection:
        cursor = connection.cursor()
        dues = _dues(rate, count, begin_after_s=_FIRST_AFTER_S)
        for due in _when_due(dues, dues):
            text = _orderid(due).encode()
            cursor.execute(_INSERT, (topic, bytes(_WIRE_HEADER_BYTES) + bytes((2 * len(text),)) + text))


def _dues(rate: float, count: int, *, begin_after_s: float) -> list[int]:
    begin = time.monotonic_ns() + int(begin_after_s * _NS_PER_S)
    return [begin + int(number / rate * _NS_PER_S) for number in range(count)]


def _orderid(due: int) -> str:
    return f"o-{due}"


def _when_due(dues: Sequence[int], what: Sequence[_What], *, in_groups_of_s: float = 0.0) -> Iterator[_What]:
    if dues[0] < time.monotonic_ns():
        msg = "the sender was not ready when the first was due"
        raise RuntimeError(msg)
    for due, one in zip(dues, what, strict=True):
        while (left_s := (due - time.monotonic_ns()) / _NS_PER_S) > 0:
            time.sleep(max(left_s, in_groups_of_s, _SHORTEST_SLEEP_S))
        yield one


def _wrapped(wrapping: envelopes.Envelopes, command: domain.Command) -> messages.OutboxMessage:
    identity = messages.MessageId(commands.SOURCE, str(uuid.uuid4()))
    return wrapping.command(command, id=identity, time=datetime.now(UTC))


_JOBS = {"commands": send_commands, "rows": insert_rows}

if __name__ == "__main__":
    _, job, per_second, how_many, of_skus = sys.argv
    stop = stopping.on_signal()
    _JOBS[job](config.load(), float(per_second), int(how_many), int(of_skus))
    stop.wait()  # a sender that has ended is one that has failed
