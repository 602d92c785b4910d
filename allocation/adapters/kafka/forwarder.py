"""Write groups of messages to Kafka once each, although the end of a transaction may get lost on the way.

A commit whose answer never came is looked up: once the transaction is settled, its first message is
either there for readers of committed records, or passed over by them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import confluent_kafka

from allocation.adapters.kafka import fenced_producer, patience
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer import messages

LOOKUP_TIMEOUT_S = 10.0  # connecting and one fetch; longer only where another's transaction is open


class Forwarder:
    """Implements `bridging.ports.Forwarder`; may not be shared between threads."""

    def __init__(self, config: clients.ClientConfig, *, transactional_id: str) -> None:
        self._config = config
        self._producer = fenced_producer.FencedProducer(config, transactional_id=transactional_id)
        self._in_doubt: fenced_producer.Delivered | None = None

    def start(self) -> None:
        """Fence whoever had the name before. Needed again after any error of `send`."""
        with patience.pausing():
            self._producer.start()

    def send(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        """Commit these in one transaction; after an error the next call must be with the same."""
        with patience.pausing():
            if self._in_doubt is not None and self._settle(self._in_doubt):
                return
            try:
                self._producer.send(outgoing)
            except fenced_producer.InDoubt as error:
                self._in_doubt = error.first
                raise

    def close(self) -> None:
        """Leave Kafka to abort what is open."""
        self._producer.close()

    def _settle(self, first: fenced_producer.Delivered) -> bool:
        is_there = is_committed(self._config, first)
        self._in_doubt = None
        return is_there


def is_committed(config: clients.ClientConfig, where: fenced_producer.Delivered) -> bool:
    """Tell whether readers of committed records find one at this place; its transaction must have ended.

    Raises `DependencyDown`, also while the transaction of somebody else hides the place.
    """
    consumer = confluent_kafka.Consumer(config.consumer(**{"enable.partition.eof": True}))
    try:
        consumer.assign([confluent_kafka.TopicPartition(where.topic, where.partition, where.offset)])
        deadline = time.monotonic() + LOOKUP_TIMEOUT_S
        while (left_s := deadline - time.monotonic()) > 0:
            message = consumer.poll(left_s)
            offset = -1 if message is None else message.offset() or 0
            if message is not None and message.error() is None:
                return offset == where.offset
            if offset > where.offset:  # the end, behind what was passed over
                return False
    finally:
        consumer.close()
    msg = f"cannot see yet whether {where.topic}/{where.partition} has committed offset {where.offset}"
    raise ports.DependencyDown(msg)
