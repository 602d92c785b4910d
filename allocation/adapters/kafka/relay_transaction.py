"""The Kafka side of one shard of the relay: messages and their checkpoint, together or not at all.

The fence is the transactional id (KIP-98): since `open_log` has returned, no other relay of the shard
can commit, and what it had left open is decided. A transaction whose commit is not confirmed is never
repeated here: the outcome is unknown, and the checkpoint of the next `open_log` tells.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

import confluent_kafka

from allocation.adapters.kafka import errors, relay_checkpoints
from allocation.service_layer import kill_points
from allocation.service_layer import ports as outside
from allocation.service_layer.relaying import ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from allocation.adapters.kafka import clients
    from allocation.service_layer.relaying import checkpoints

INIT_TIMEOUT_S = 10.0
# Kafka aborts by itself what a dead relay has left open: until then, readers of committed records wait behind it.
# A pass takes 50 ms; a broker that restarts in between, some seconds.
TRANSACTION_TIMEOUT_S = 15.0
COMMIT_TIMEOUT_S = 15.0
_ROOM_TIMEOUT_S = 0.1
_ANY_PARTITION = -1

_decode = json.JSONDecoder().raw_decode  # `json.loads` takes twice as long around it

_Error = confluent_kafka.KafkaError

# What Kafka says to a producer whose place another has taken, or whose transaction took too long.
_FENCED = frozenset(
    {
        _Error._FENCED,  # noqa: SLF001 - the client's own codes begin so
        _Error.PRODUCER_FENCED,
        _Error.INVALID_PRODUCER_EPOCH,
        _Error.INVALID_PRODUCER_ID_MAPPING,
    }
)

# What no repetition changes for this message. A topic that is missing is none of these: someone will make it.
_REFUSED = frozenset(
    {
        _Error.MSG_SIZE_TOO_LARGE,
        _Error.RECORD_LIST_TOO_LARGE,
        _Error.INVALID_RECORD,
        _Error.INVALID_TIMESTAMP,
        _Error.POLICY_VIOLATION,
        _Error._UNKNOWN_PARTITION,  # noqa: SLF001
        _Error._INVALID_ARG,  # noqa: SLF001
    }
)

# Consequences of another failure, which is reported too.
_CONSEQUENCES = frozenset({_Error._PURGE_QUEUE, _Error._PURGE_INFLIGHT})  # noqa: SLF001


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
        self._failures = _Failures()
        self._producer: confluent_kafka.Producer | None = confluent_kafka.Producer(
            config.producer(
                **{
                    "transactional.id": transactional_id,
                    "transaction.timeout.ms": int(TRANSACTION_TIMEOUT_S * 1000),
                    "delivery.timeout.ms": int(TRANSACTION_TIMEOUT_S * 1000),
                    # How long the client waits while Kafka still completes the last transaction (default: 100 ms).
                    "retry.backoff.ms": 1,
                    "on_delivery": self._failures.note,
                    "delivery.report.only.error": True,
                }
            )
        )

    def fence(self) -> None:
        """Become the only producer of the shard."""
        with self._translated() as producer:
            producer.init_transactions(INIT_TIMEOUT_S)

    def last_checkpoint(self) -> checkpoints.Checkpoint | None:
        """Return the checkpoint of the last committed transaction, if there is any."""
        return relay_checkpoints.last(self._config, topic=self._topic, partition=self._shard)

    def send(self, rows: Sequence[ports.Row], checkpoint: checkpoints.Checkpoint) -> None:
        """Send the rows and the checkpoint in one transaction; returns once it is committed."""
        with self._translated() as producer:
            producer.begin_transaction()
            _produce(producer, rows)
            kill_points.reached("relay.after_produce")
            _put(producer, self._topic, checkpoint.to_json(), b"%d" % self._shard, self._shard, [])
            deadline = time.monotonic() + COMMIT_TIMEOUT_S
            producer.flush(COMMIT_TIMEOUT_S)
            kill_points.reached("relay.before_commit")
            _commit(producer, deadline)

    def close(self) -> None:
        """Drop what was not sent; a transaction that is open is left to the next `fence`, or to its timeout."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None  # the last reference: the client ends here

    @contextlib.contextmanager
    def _translated(self) -> Iterator[confluent_kafka.Producer]:
        if self._producer is None:
            raise RuntimeError("a closed log was used")
        try:
            yield self._producer
        except confluent_kafka.KafkaException as exception:
            raise self._fate(errors.kafka_error(exception)) from exception
        except SystemError as error:
            # The client (2.16) leaves the exception of a fatal error pending while it calls back with what else
            # happened; Python blames the callback, or finds no exception at all. How it ended, recovery tells.
            if isinstance(error.__cause__, confluent_kafka.KafkaException):
                raise self._fate(errors.kafka_error(error.__cause__)) from error
            msg = f"the client of Kafka at {self._config.bootstrap_servers} failed, and does not say why: {error}"
            raise outside.DependencyDown(msg) from error

    def _fate(self, error: confluent_kafka.KafkaError) -> Exception:
        """Return what an error means; what went wrong with a message says more than that its transaction failed."""
        cause, topic = self._failures.first or (error, None)
        servers = self._config.bootstrap_servers
        if _FENCED & {error.code(), cause.code()}:
            return ports.Superseded(f"Kafka at {servers} has fenced off this relay: {error.str()}")
        if cause.code() in _REFUSED:
            return ports.Refused(f"Kafka refuses it for {topic}: {cause.str()} ({cause.name()})")
        action = "relay in a transaction" if topic is None else f"send to topic {topic}"
        return outside.DependencyDown(str(errors.failure(action, cause, servers=servers)))


class _Failures:
    """Hears what became of each message that was not delivered; knows no producer, which would never be freed."""

    def __init__(self) -> None:
        self.first: tuple[confluent_kafka.KafkaError, str | None] | None = None

    def note(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        """Keep the first failure that is no mere consequence."""
        if error is not None and self.first is None and error.code() not in _CONSEQUENCES:
            self.first = (error, message.topic())


def _produce(producer: confluent_kafka.Producer, rows: Sequence[ports.Row]) -> None:
    """Give all rows to the client: half of what a row costs is spent here."""
    row_id = 0
    try:
        for row_id, topic, partition, key, value, headers in rows:  # noqa: B007 - the error names the row
            where = _ANY_PARTITION if partition is None else partition
            _put(producer, topic, value, key, where, _headers(headers))
    except (TypeError, ValueError) as error:
        raise ports.Refused(f"row {row_id} is no message for Kafka: {error}") from error


def _put(
    producer: confluent_kafka.Producer,
    topic: str,
    value: bytes | None,
    key: bytes | None,
    partition: int,
    headers: list[tuple[str, Any]],
) -> None:
    """Give a message to the client, once it has room for it."""
    while True:
        try:
            # By position, which is the faster way: callbacks as configured, the time of now.
            producer.produce(topic, value, key, partition, None, None, 0, headers)
        except BufferError:
            producer.poll(_ROOM_TIMEOUT_S)
        else:
            return


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


def _headers(text: str) -> list[tuple[str, Any]]:
    """Return headers as the client takes them; ASCII text without escapes is the bytes that it stands for."""
    pairs, _ = _decode(text)
    if "\\" not in text and text.isascii():
        return list(map(tuple, pairs))
    return [(name, None if value is None else value.encode("latin-1")) for name, value in pairs]
