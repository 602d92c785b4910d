"""Kafka transactions under a name that only one process may use at a time (KIP-98, KIP-360).

Whoever starts last is the one: earlier producers with the name can neither send nor commit from then
on, and what they had not committed is aborted. After an error the object must be started again, and
what has become of its transaction is then settled, if not known.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, Self

import confluent_kafka

from allocation.adapters.kafka import errors
from allocation.service_layer import kill_points, ports

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from allocation.adapters.kafka import clients
    from allocation.service_layer import messages

INIT_TIMEOUT_S = 10.0
# A transaction of our size takes some 20 ms; beyond this, pause and start again.
COMMIT_TIMEOUT_S = 10.0
# Kafka aborts by itself what its owner has left open: until then, readers of committed records wait behind it.
TRANSACTION_TIMEOUT_S = 20.0
_ANY_PARTITION = -1

# What Kafka says to a producer whose place another has taken, or whose transaction took too long.
_FENCED = frozenset(
    {
        confluent_kafka.KafkaError._FATAL,  # noqa: SLF001 - librdkafka's own codes begin so
        confluent_kafka.KafkaError._FENCED,  # noqa: SLF001
        confluent_kafka.KafkaError.INVALID_PRODUCER_EPOCH,
        confluent_kafka.KafkaError.INVALID_PRODUCER_ID_MAPPING,
    }
)


class Delivered(NamedTuple):
    """Where a message lies, once its transaction is committed."""

    topic: str
    partition: int
    offset: int


class Fenced(ports.DependencyDown):
    """A producer is of no use any more: another has started with its name, or Kafka has ended its transaction."""


class InDoubt(ports.DependencyDown):
    """A commit was asked for, and how it ended is not known; once `start` has returned, it is settled.

    `first` says where the first message lies if it was committed.
    """

    def __init__(self, text: str, *, first: Delivered) -> None:
        super().__init__(text)
        self.first = first


class FencedProducer:
    """Sends groups of messages, each in one transaction; may not be shared between threads."""

    def __init__(self, config: clients.ClientConfig, *, transactional_id: str) -> None:
        self._servers = config.bootstrap_servers
        self._settings = config.producer(
            **{
                "transactional.id": transactional_id,
                "transaction.timeout.ms": int(TRANSACTION_TIMEOUT_S * 1000),
                "delivery.timeout.ms": int(COMMIT_TIMEOUT_S * 1000),
                # How long librdkafka pauses while the last transaction is still being completed (default: 100 ms).
                "retry.backoff.ms": 1,
            }
        )
        self._producer: confluent_kafka.Producer | None = None

    def start(self) -> None:
        """Fence earlier owners of the name, and settle their transactions. Raises `DependencyDown`, `KafkaRefused`."""
        self.close()
        producer = confluent_kafka.Producer(self._settings)
        try:
            producer.init_transactions(INIT_TIMEOUT_S)
        except confluent_kafka.KafkaException as exception:
            raise self._failure(errors.kafka_error(exception)) from exception
        self._producer = producer

    def send(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        """Commit all of these, at least one, or none.

        Raises `InDoubt` where that is not known, and where nothing was committed `Fenced`, `DependencyDown` or
        `KafkaRefused`.
        """
        producer = self._started()
        deliveries = _Deliveries()
        try:
            producer.begin_transaction()
            for message in outgoing:
                _produce(producer, message, deliveries)
            producer.flush(COMMIT_TIMEOUT_S)
        except confluent_kafka.KafkaException as exception:
            raise self._failure(errors.kafka_error(exception)) from exception
        except SystemError as error:  # what the client makes of a fatal error that arrives among acknowledgements
            self.close()
            msg = f"Kafka at {self._servers} does not let this producer go on: {error.__cause__ or error}"
            raise Fenced(msg) from error
        self._check(deliveries, expected=len(outgoing))
        kill_points.reached("bridge.before_commit")
        self._commit(producer, deliveries.delivered[0])

    def close(self) -> None:
        """Leave Kafka to abort what is open; may be repeated."""
        if self._producer is not None:
            self._producer.purge()
            self._producer = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _started(self) -> confluent_kafka.Producer:
        if self._producer is None:
            msg = "start must be called before send, and again after an error"
            raise RuntimeError(msg)
        return self._producer

    def _check(self, deliveries: _Deliveries, *, expected: int) -> None:
        if deliveries.failure is not None:
            raise self._failure(deliveries.failure)
        if len(deliveries.delivered) != expected:
            self.close()
            msg = f"Kafka at {self._servers} did not confirm {expected} messages within {COMMIT_TIMEOUT_S:g} s"
            raise ports.DependencyDown(msg)

    def _commit(self, producer: confluent_kafka.Producer, first: Delivered) -> None:
        deadline = time.monotonic() + COMMIT_TIMEOUT_S
        while True:
            try:
                producer.commit_transaction(max(0.1, deadline - time.monotonic()))
            except confluent_kafka.KafkaException as exception:
                error = errors.kafka_error(exception)
                if error.txn_requires_abort():
                    raise self._failure(error) from exception
                if not error.retriable() or time.monotonic() > deadline:
                    self.close()
                    msg = f"Kafka at {self._servers} did not say whether it has committed: {error.str()}"
                    raise InDoubt(msg, first=first) from exception
            else:
                return

    def _failure(self, error: confluent_kafka.KafkaError) -> Exception:
        """Return the error to raise for a transaction that will never be committed."""
        self.close()
        if error.fatal() or error.code() in _FENCED:
            return Fenced(f"Kafka at {self._servers} does not let this producer go on: {error.str()} ({error.name()})")
        return errors.failure("send in a transaction", error, servers=self._servers)


class _Deliveries:
    """What Kafka has acknowledged of one transaction, and the first thing that it did not take."""

    def __init__(self) -> None:
        self.delivered: list[Delivered] = []
        self.failure: confluent_kafka.KafkaError | None = None

    def report(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        if error is None:
            where = Delivered(message.topic() or "", message.partition() or 0, message.offset() or 0)
            self.delivered.append(where)
        elif self.failure is None:
            self.failure = error


def _produce(producer: confluent_kafka.Producer, message: messages.OutboxMessage, deliveries: _Deliveries) -> None:
    producer.produce(
        message.topic,
        value=message.value,
        key=message.key,
        partition=_ANY_PARTITION if message.partition is None else message.partition,
        headers=list(message.headers),
        on_delivery=deliveries.report,
    )
