"""Put messages on Kafka outside of transactions: idempotent, acknowledged by all replicas.

A message is on its topic when `send` or `send_all` returns. After an error it may or may not be
there: sending it again may put it there twice, which its id (`ce_id`) makes harmless.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple, Self

import confluent_kafka

from allocation.adapters.kafka import clients, errors
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from allocation.service_layer import messages

# A broker's restart takes some seconds, the election of a leader less; longer is an outage.
DELIVERY_TIMEOUT_S = 30.0
# How often the thread that takes acknowledgements looks whether it should end; those wake it at once.
_POLL_TIMEOUT_S = 0.05
# How long to wait for room in the client's queue before trying again, if no acknowledgement comes first.
_ROOM_TIMEOUT_S = 0.05
# What is on its way at close gets this long to arrive.
_CLOSE_TIMEOUT_S = 2.0
# Enough for full batches to all partitions, little enough to stay within some megabytes.
_MAX_IN_FLIGHT = 10_000
_ANY_PARTITION = -1


class Delivered(NamedTuple):
    """Where an acknowledged message lies."""

    topic: str
    partition: int
    offset: int


class Producer:
    """A producer with a thread of its own that takes the acknowledgements; threads may share it.

    The client tries to deliver a message for `delivery_timeout_s`. Raises `DependencyDown` where
    Kafka does not take a message in time, `KafkaRefused` where it never will.
    """

    def __init__(self, config: clients.ClientConfig, *, delivery_timeout_s: float = DELIVERY_TIMEOUT_S) -> None:
        self._servers = config.bootstrap_servers
        settings = config.producer(**{"delivery.timeout.ms": int(delivery_timeout_s * 1000)})
        self._producer = clients.opened(confluent_kafka.Producer, settings)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._take_acknowledgements, name="kafka-producer", daemon=True)
        self._thread.start()

    def send(self, message: messages.OutboxMessage, *, timeout_s: float | None = None) -> Delivered:
        """Send one message and block until it is acknowledged, for `timeout_s` at most."""
        deliveries = _Deliveries()
        self._produce(message, deliveries)
        if not deliveries.wait_for_all(timeout_s):
            msg = f"cannot send to {message.topic}: Kafka at {self._servers} did not confirm it within {timeout_s} s"
            raise ports.DependencyDown(msg)
        self._raise_failure(deliveries)
        assert deliveries.last is not None  # noqa: S101 - it did not fail
        return deliveries.last

    def send_all(
        self,
        outgoing: Iterable[messages.OutboxMessage],
        *,
        on_delivery: Callable[[Delivered], None] | None = None,
    ) -> int:
        """Send any number of messages, block until all are acknowledged, and return how many there were.

        Takes them one by one, so that memory stays bounded; those with one key keep their order.
        `on_delivery` hears of each acknowledged one, in another thread, and must be quick. Stops
        taking at the first failure and raises it when the fate of all before it is known.
        """
        deliveries = _Deliveries(on_delivery)
        count = 0
        for message in outgoing:
            if not deliveries.wait_for_room():
                break
            self._produce(message, deliveries)
            count += 1
        deliveries.wait_for_all()
        self._raise_failure(deliveries)
        return count

    def close(self) -> None:
        """Drop what was not sent yet and wait a moment for what was; may be repeated."""
        self._closing.set()
        self._thread.join()
        self._producer.purge(in_queue=True, in_flight=False)
        self._producer.flush(_CLOSE_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _produce(self, message: messages.OutboxMessage, deliveries: _Deliveries) -> None:
        deliveries.add()
        try:
            while not self._queue(message, deliveries):
                deliveries.wait_for_any(_ROOM_TIMEOUT_S)
        except confluent_kafka.KafkaException as exception:
            deliveries.fail(message.topic, errors.kafka_error(exception))

    def _queue(self, message: messages.OutboxMessage, deliveries: _Deliveries) -> bool:
        """Hand a message to the client; return whether there was room for it."""
        try:
            self._producer.produce(
                message.topic,
                value=message.value,
                key=message.key,
                partition=_ANY_PARTITION if message.partition is None else message.partition,
                headers=list(message.headers),
                on_delivery=deliveries.report,
            )
        except BufferError:
            return False
        return True

    def _raise_failure(self, deliveries: _Deliveries) -> None:
        if deliveries.failure is not None:
            topic, error = deliveries.failure
            raise errors.failure(f"send to {topic}", error, servers=self._servers)

    def _take_acknowledgements(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(_POLL_TIMEOUT_S)


class _Deliveries:
    """Counts what is on its way for one call; `report` is called by the producer's thread."""

    def __init__(self, on_delivery: Callable[[Delivered], None] | None = None) -> None:
        self.last: Delivered | None = None
        self.failure: tuple[str, confluent_kafka.KafkaError] | None = None
        self._on_delivery = on_delivery
        self._in_flight = 0
        self._changed = threading.Condition()

    def add(self) -> None:
        with self._changed:
            self._in_flight += 1

    def wait_for_room(self) -> bool:
        """Block while too many are on their way; return False once one has failed."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight < _MAX_IN_FLIGHT or self.failure is not None)
            return self.failure is None

    def wait_for_any(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait(timeout_s)

    def wait_for_all(self, timeout_s: float | None = None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._in_flight == 0, timeout_s)

    def report(self, error: confluent_kafka.KafkaError | None, message: confluent_kafka.Message) -> None:
        topic = message.topic() or ""
        if error is not None:
            self.fail(topic, error)
            return
        self.last = Delivered(topic, message.partition() or 0, message.offset() or 0)
        if self._on_delivery is not None:
            self._on_delivery(self.last)
        self._end()

    def fail(self, topic: str, error: confluent_kafka.KafkaError) -> None:
        self.failure = self.failure or (topic, error)
        self._end()

    def _end(self) -> None:
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()
