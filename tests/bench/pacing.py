"""A sender at a steady rate: `python -m tests.bench.pacing commands | rows RATE COUNT SKUS`.

The time at which something was due is a part of its orderid, so that the event brings it along. It counts
also when the sender was late: a system that makes its senders wait must not look quick for it.
"""

from __future__ import annotations

import contextlib
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from allocation import bootstrap, config
from allocation.adapters.kafka import producer as kafka_producer
from allocation.domain import commands as domain
from allocation.entrypoints import stopping
from allocation.service_layer import envelopes, messages
from tests.bench import commands, installation

if TYPE_CHECKING:
    from collections.abc import Iterator

_WIRE_HEADER_BYTES = 5
_NS_PER_S = 1_000_000_000
# At high rates what is due is sent in groups: a sleep takes longer than a single command.
_SHORTEST_SLEEP_S = 0.0005
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
    """Send so many commands, each when it is due."""
    with bootstrap.database(settings) as engine, bootstrap.serde(settings, engine) as serde:
        wrapping = envelopes.Envelopes(topics=bootstrap.topic_names(settings), serializer=serde)
        orders = zip(_orderids(rate, count), commands.uniform(count, skus=skus), strict=True)
        with kafka_producer.Producer(bootstrap.kafka_clients(settings)) as producer:
            producer.send_all(_wrapped(wrapping, domain.Allocate(orderid, sku, 1)) for orderid, sku in orders)


def insert_rows(settings: config.Settings, rate: float, count: int, _skus: int) -> None:
    """Insert so many rows into the outbox, each when it is due."""
    topic = bootstrap.topic_names(settings).line_allocated
    with contextlib.closing(installation.connect(settings.database_url)) as connection:
        cursor = connection.cursor()
        for orderid in _orderids(rate, count):
            text = orderid.encode()
            cursor.execute(_INSERT, (topic, bytes(_WIRE_HEADER_BYTES) + bytes((2 * len(text),)) + text))


def _orderids(rate: float, count: int) -> Iterator[str]:
    begin = time.monotonic_ns()
    for number in range(count):
        due = begin + int(number / rate * _NS_PER_S)
        while (left_s := (due - time.monotonic_ns()) / _NS_PER_S) > 0:
            time.sleep(max(left_s, _SHORTEST_SLEEP_S))
        yield f"{number}-{due}"


def _wrapped(wrapping: envelopes.Envelopes, command: domain.Command) -> messages.OutboxMessage:
    identity = messages.MessageId(commands.SOURCE, str(uuid.uuid4()))
    return wrapping.command(command, id=identity, time=datetime.now(UTC))


_JOBS = {"commands": send_commands, "rows": insert_rows}

if __name__ == "__main__":
    _, job, per_second, how_many, of_skus = sys.argv
    stop = stopping.on_signal()
    _JOBS[job](config.load(), float(per_second), int(how_many), int(of_skus))
    stop.wait()  # a sender that has ended is one that has failed
