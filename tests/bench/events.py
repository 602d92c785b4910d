"""What a consumer of committed events sees, and when."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import confluent_kafka

from allocation import bootstrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from allocation import config

# Looked for so often: a small part of what is measured, and cheap.
_REST_S = 0.005
_CHUNK = 10_000
_PATIENCE_S = 0.2


class Watcher:
    """Counts the committed events of some topics from their beginning."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self.count = 0
        self.first_at = 0.0
        self.first_count = 0
        self.last_at = 0.0

    def await_count(self, count: int, *, check: Callable[[], None]) -> None:
        """Return as soon as there are so many; `check` raises if they will never come."""
        checked_at = time.monotonic()
        while self.count < count:
            self.take()
            if time.monotonic() - checked_at > 1:
                checked_at = time.monotonic()
                check()
            time.sleep(_REST_S)

    def take_soon(self) -> Sequence[Any]:
        """Return what arrives, as soon as anything does."""
        first = self._consumer.poll(_PATIENCE_S)
        return () if first is None else self._note([first, *self._consumer.consume(_CHUNK, 0)])

    def take(self) -> Sequence[Any]:
        """Return what has arrived."""
        return self._note(self._consumer.consume(_CHUNK, 0))

    def _note(self, fetched: Sequence[Any]) -> Sequence[Any]:
        if fetched:
            for message in fetched:
                if message.error() is not None:
                    raise RuntimeError(str(message.error()))
            self.count += len(fetched)
            self.last_at = time.time()
            if not self.first_at:
                self.first_at, self.first_count = self.last_at, len(fetched)
        return fetched


@contextlib.contextmanager
def watching(settings: config.Settings, *topics: str) -> Iterator[Watcher]:
    """Watch these topics, named without their prefix."""
    # Watching must not take much of the machine: 50 ms worth of events come in one answer.
    more = {"fetch.min.bytes": 1, "queued.min.messages": 1_000_000}
    consumer = confluent_kafka.Consumer(bootstrap.kafka_clients(settings).consumer(**more))
    try:
        names = [settings.topic_prefix + topic for topic in topics]
        consumer.assign(
            [confluent_kafka.TopicPartition(name, number, 0) for name in names for number in range(settings.partitions)]
        )
        yield Watcher(consumer)
    finally:
        consumer.close()
