"""The Kafka client of one shard's relay: how rows are given to it, and what its errors mean for them."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import confluent_kafka

from allocation.adapters.kafka import errors
from allocation.service_layer import ports as outside
from allocation.service_layer.relaying import ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from allocation.adapters.kafka import clients

_ROOM_TIMEOUT_S = 0.1
_ABORT_TIMEOUT_S = 1.0
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


class RelayClient:
    """A producer that is of no use any more after its first error."""

    def __init__(self, config: clients.ClientConfig, *, action: str, **settings: object) -> None:
        self._servers = config.bootstrap_servers
        self._action = action
        self._has_transactions = "transactional.id" in settings
        self._failures = _Failures()
        self._producer: confluent_kafka.Producer | None = confluent_kafka.Producer(
            config.producer(**settings, **{"on_delivery": self._failures.note, "delivery.report.only.error": True})
        )

    @contextlib.contextmanager
    def translated(self) -> Iterator[confluent_kafka.Producer]:
        """Lend the producer, and raise what its errors mean: `Superseded`, `Refused` or `DependencyDown`."""
        producer = self._producer
        if producer is None:
            raise RuntimeError("a closed log was used")
        try:
            yield producer
        except confluent_kafka.KafkaException as exception:
            error = errors.kafka_error(exception)
            if error.code() == _Error._FATAL:  # noqa: SLF001
                error = self._reason(producer) or error
            raise self._fate(error) from exception
        except SystemError as failure:
            # The client (2.16) leaves the exception of a fatal error pending while it calls back with what else
            # happened; Python blames the callback, or finds no exception at all. How it ended, recovery tells.
            if isinstance(failure.__cause__, confluent_kafka.KafkaException):
                raise self._fate(errors.kafka_error(failure.__cause__)) from failure
            if (reason := self._reason(producer)) is not None:
                raise self._fate(reason) from failure
            msg = f"the client of Kafka at {self._servers} failed, and does not say why: {failure}"
            raise outside.DependencyDown(msg) from failure

    def check_delivered(self) -> None:
        """Raise what the first message that was not delivered means."""
        if self._failures.first is not None:
            raise self._fate(self._failures.first[0])

    def close(self) -> None:
        """Drop what was not sent."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None  # the last reference: the client ends here

    def _reason(self, producer: confluent_kafka.Producer) -> confluent_kafka.KafkaError | None:
        """Return why a client with transactions has failed; another one's messages tell (`relay_idempotent.py`)."""
        if not self._has_transactions:
            return None
        try:
            producer.abort_transaction(_ABORT_TIMEOUT_S)  # all else that it refuses only says that it has failed
        except confluent_kafka.KafkaException as exception:
            return errors.kafka_error(exception)
        return None

    def _fate(self, error: confluent_kafka.KafkaError) -> Exception:
        """Return what an error means; what went wrong with a message says more than that its transaction failed."""
        cause, topic = self._failures.first or (error, None)
        if _FENCED & {error.code(), cause.code()}:
            return ports.Superseded(f"Kafka at {self._servers} has fenced off this relay: {error.str()}")
        if cause.code() in _REFUSED:
            return ports.Refused(f"Kafka refuses it for {topic}: {cause.str()} ({cause.name()})")
        action = self._action if topic is None else f"send to topic {topic}"
        return outside.DependencyDown(str(errors.failure(action, cause, servers=self._servers)))


class _Failures:
    """Hears what became of each message that was not delivered; knows no producer, which would never be freed."""

    def __init__(self) -> None:
        self.first: tuple[confluent_kafka.KafkaError, str | None] | None = None

    def note(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        """Keep the first failure that is no mere consequence.

        The client (2.16) may call with the exception of a fatal error still pending: Python blames the first call
        that is made here, and the second one goes well. That exception must go on, or the client fails without one.
        """
        try:
            self._keep(error, message)
        except SystemError:
            self._keep(error, message)
            raise

    def _keep(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        if error is not None and self.first is None and error.code() not in _CONSEQUENCES:
            self.first = (error, message.topic())


def produce(producer: confluent_kafka.Producer, rows: Sequence[ports.Row]) -> None:
    """Give all rows to the client: half of what a row costs is spent here. Raises `Refused` for what is no message."""
    row_id = 0
    try:
        for row_id, topic, partition, key, value, headers in rows:  # noqa: B007 - the error names the row
            where = _ANY_PARTITION if partition is None else partition
            put(producer, topic, value, key, where, _headers(headers))
    except (TypeError, ValueError) as error:
        raise ports.Refused(f"row {row_id} is no message for Kafka: {error}") from error


def put(
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


def _headers(text: str) -> list[tuple[str, Any]]:
    """Return headers as the client takes them; ASCII text without escapes is the bytes that it stands for."""
    pairs, _ = _decode(text)
    if "\\" not in text and text.isascii():
        return list(map(tuple, pairs))
    return [(name, None if value is None else value.encode("latin-1")) for name, value in pairs]
