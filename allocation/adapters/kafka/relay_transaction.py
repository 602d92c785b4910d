"""The Kafka side of one shard of the relay: messages and their checkpoint, together or not at all.

The fence is the transactional id (KIP-98): since `open_log` has returned, no relay of the shard that was there before
can commit, and what it had left open is decided. A transaction whose commit is not confirmed is never
repeated here: the outcome is unknown, and the checkpoint of the next `open_log` tells.

There are two ids, which take turns. A commit is confirmed before Kafka has completed its transaction, and whoever
begins another with the same id by then is told to wait, for which the client takes 20 ms. Both are fenced in the same
order, and the first transaction of a log is always of the first one. So of two relays that fence each other off
halfway, the one that holds the first id can send once, the other nothing.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import confluent_kafka

from allocation.adapters.kafka import errors, relay_checkpoints, relay_client
from allocation.service_layer import kill_points

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer.relaying import checkpoints, ports

INIT_TIMEOUT_S = 10.0
# Kafka aborts by itself what a dead relay has left open: until then, readers of committed records wait behind it.
# A pass takes 50 ms; a broker that restarts in between, some seconds.
TRANSACTION_TIMEOUT_S = 15.0
COMMIT_TIMEOUT_S = 15.0


@contextlib.contextmanager
def open_log(
    config: clients.ClientConfig, *, topic: str, shard: int, transactional_id: str
) -> Iterator[RelayTransactions]:
    """Fence every other relay of the shard off and settle its transaction; raises `DependencyDown`."""
    log = RelayTransactions(config, topic=topic, shard=shard, transactional_id=transactional_id)
    try:
        log.fence()
        yield log
    finally:
        log.close()


class RelayTransactions:
    """Implements `relaying.ports.TransactionLog`."""

    def __init__(self, config: clients.ClientConfig, *, topic: str, shard: int, transactional_id: str) -> None:
        self._config = config
        self._topic = topic
        self._shard = shard
        self._clients = [_client(config, id_) for id_ in (transactional_id, f"{transactional_id}-2")]
        self._transactions = 0

    def fence(self) -> None:
        """Become the only producer of the shard."""
        for client in self._clients:
            with client.translated() as producer:
                producer.init_transactions(INIT_TIMEOUT_S)

    def last_checkpoint(self) -> checkpoints.Checkpoint | None:
        """Return the checkpoint of the last committed transaction, if there is any."""
        return relay_checkpoints.last(self._config, topic=self._topic, partition=self._shard)

    def send(self, rows: Sequence[ports.Row], checkpoint: checkpoints.Checkpoint) -> None:
        """Send the rows and the checkpoint in one transaction; returns once it is committed."""
        with self._clients[self._transactions % len(self._clients)].translated() as producer:
            producer.begin_transaction()
            relay_client.produce(producer, rows)
            kill_points.reached("relay.after_produce")
            relay_client.put(producer, self._topic, checkpoint.to_json(), b"%d" % self._shard, self._shard, [])
            deadline = time.monotonic() + COMMIT_TIMEOUT_S
            producer.flush(COMMIT_TIMEOUT_S)
            kill_points.reached("relay.before_commit")
            _commit(producer, deadline)
        self._transactions += 1

    def close(self) -> None:
        """Drop what was not sent; a transaction that is open is left to the next `fence`, or to its timeout."""
        for client in self._clients:
            client.close()


def _client(config: clients.ClientConfig, transactional_id: str) -> relay_client.RelayClient:
    return relay_client.RelayClient(
        config,
        action="relay in a transaction",
        **{
            "transactional.id": transactional_id,
            "transaction.timeout.ms": int(TRANSACTION_TIMEOUT_S * 1000),
            "delivery.timeout.ms": int(TRANSACTION_TIMEOUT_S * 1000),
            # How long the client waits before it asks again for a commit that is not complete (default: 100 ms).
            "retry.backoff.ms": 1,
        },
    )


def _commit(producer: confluent_kafka.Producer, deadline: float) -> None:
    """Ask for the commit until the answer is definite, or time is up."""
    while True:
        try:
            producer.commit_transaction(max(0.1, deadline - time.monotonic()))
        except confluent_kafka.KafkaException as exception:
            if not errors.kafka_error(exception).retriable() or time.monotonic() > deadline:
                raise
        else:
            return
