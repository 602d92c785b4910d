"""Stand-ins for what the bridge needs; each passes the contract suite of the real part."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Self

from allocation.service_layer import ports
from allocation.service_layer.bridging import ports as bridging

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from allocation.service_layer import messages

PATIENCE_S = 30.0


class FakeRedis:
    """A server with channels; `is_down` refuses everything and ends the subscriptions."""

    def __init__(self) -> None:
        self._subscriptions: list[FakeSubscription] = []
        self._changed = threading.Condition()
        self.is_down = False

    def subscribe(self, *channels: str) -> FakeSubscription:
        self.check()
        subscription = FakeSubscription(self, channels)
        with self._changed:
            self._subscriptions.append(subscription)
            self._changed.notify_all()
        return subscription

    def unsubscribe(self, subscription: FakeSubscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    def publish(self, channel: str, payload: bytes) -> None:
        for subscription in self._subscriptions:
            subscription.receive(channel, payload)

    def wait_for_subscription(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._subscriptions, PATIENCE_S)

    def waiting(self) -> int:
        """Return how many messages were published and not taken yet."""
        return sum(subscription.waiting() for subscription in self._subscriptions)

    def go_down(self) -> None:
        self.is_down = True
        with self._changed:
            for subscription in self._subscriptions:
                subscription.is_lost = True
            self._subscriptions.clear()

    def check(self) -> None:
        if self.is_down:
            raise ports.DependencyDown("Redis is down")


class FakeSubscription:
    """Passes as `bridging.ports.Subscription` and as the context manager around it."""

    def __init__(self, server: FakeRedis, channels: Sequence[str]) -> None:
        self._server = server
        self._channels = channels
        self._arrived: deque[bridging.Published] = deque()
        self._something = threading.Condition()
        self.is_lost = False

    def receive(self, channel: str, payload: bytes) -> None:
        if channel in self._channels:
            with self._something:
                self._arrived.append(bridging.Published(channel, payload))
                self._something.notify_all()

    def waiting(self) -> int:
        return len(self._arrived)

    def take(self, *, limit: int, timeout_s: float) -> Sequence[bridging.Published]:
        self._check()
        with self._something:
            self._something.wait_for(lambda: self._arrived, timeout_s)
            return [self._arrived.popleft() for _ in range(min(limit, len(self._arrived)))]

    def drain(self) -> Sequence[bridging.Published]:
        self._check()
        self._server.unsubscribe(self)
        return self.take(limit=len(self._arrived), timeout_s=0)

    def _check(self) -> None:
        if self.is_lost:
            raise ports.DependencyDown("the connection is lost")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.unsubscribe(self)


class FakeKafka:
    """What is committed, in order, and who may commit."""

    def __init__(self) -> None:
        self.committed: list[messages.OutboxMessage] = []
        self.owner: FakeForwarder | None = None
        self.is_down = False
        self.loses_answers = 0
        self.refusals = 0
        self._changed = threading.Condition()

    def commit(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        with self._changed:
            self.committed.extend(outgoing)
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.committed) >= count, PATIENCE_S), self.committed

    def wait_for_refusal(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.refusals, PATIENCE_S)

    def come_back(self) -> None:
        self.is_down = False

    def check(self) -> None:
        if self.is_down:
            with self._changed:
                self.refusals += 1
                self._changed.notify_all()
            raise ports.DependencyDown("Kafka is down")


class FakeForwarder:
    """Passes as `bridging.ports.Forwarder`."""

    def __init__(self, kafka: FakeKafka) -> None:
        self._kafka = kafka
        self._is_started = False
        self._in_doubt = False

    def start(self) -> None:
        self._kafka.check()
        self._kafka.owner = self
        self._is_started = True

    def send(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        assert self._is_started, "start must be called before send, and again after an error"
        try:
            self._send(outgoing)
        except ports.DependencyDown:
            self._is_started = False
            raise

    def _send(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        self._kafka.check()
        if self._kafka.owner is not self:
            raise ports.DependencyDown("fenced")
        if self._in_doubt:
            self._in_doubt = False
            return
        self._kafka.commit(outgoing)
        if self._kafka.loses_answers:
            self._kafka.loses_answers -= 1
            self._in_doubt = True
            raise ports.DependencyDown("no answer to the commit")


class FakeLeases:
    """The table of leases: one row, which expires when the test says so."""

    def __init__(self) -> None:
        self.owner: FakeLease | None = None
        self.is_down = False
        self._refused = threading.Event()

    def expire(self) -> None:
        """Let whoever asks next have it."""
        if self.owner is not None:
            self.owner.has_expired = True

    def wait_for_refusal(self) -> None:
        assert self._refused.wait(PATIENCE_S)

    def check(self) -> None:
        if self.is_down:
            self._refused.set()
            raise ports.DependencyDown("the database is down")


class FakeLease:
    """Passes as `bridging.ports.Lease`."""

    def __init__(self, leases: FakeLeases) -> None:
        self._leases = leases
        self.has_expired = False

    def acquire(self) -> bool:
        self._leases.check()
        owner = self._leases.owner
        if owner is None or owner is self or owner.has_expired:
            self._leases.owner = self
            self.has_expired = False
        return self._leases.owner is self

    def renew(self) -> bool:
        self._leases.check()
        if self._leases.owner is self:
            self.has_expired = False
        return self._leases.owner is self

    def release(self) -> None:
        self._leases.check()
        if self._leases.owner is self:
            self._leases.owner = None


class FakePositions:
    """Passes as `bridging.ports.Positions`."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], dict[int, int]] = {}
        self.is_down = False

    def load(self, *, reader: str, topic_id: str) -> Mapping[int, int]:
        self._check()
        return dict(self._rows.get((reader, topic_id), {}))

    def advance(self, *, reader: str, topic_id: str, next_offsets: Mapping[int, int]) -> None:
        self._check()
        row = self._rows.setdefault((reader, topic_id), {})
        for partition, next_offset in next_offsets.items():
            row[partition] = max(row.get(partition, 0), next_offset)

    def reset(self, *, reader: str, topic_id: str, next_offsets: Mapping[int, int]) -> None:
        self._check()
        self._rows.setdefault((reader, topic_id), {}).update(next_offsets)

    def _check(self) -> None:
        if self.is_down:
            raise ports.DependencyDown("the database is down")


class FakeTopic:
    """A topic of events; passes as `bridging.ports.EventLog` and as the context manager around it."""

    def __init__(self, *, partitions: int = 2, topic_id: str = "topic-id") -> None:
        self._records: dict[int, list[messages.Record]] = {number: [] for number in range(partitions)}
        self._next: dict[int, int] = {}
        self._changed = threading.Condition()
        self._has_changed = False
        self.topic_id = topic_id
        self.is_down = False

    def append(self, record: messages.Record) -> None:
        with self._changed:
            log = self._records[record.partition]
            log.append(record._replace(offset=len(log), topic_id=self.topic_id))
            self._changed.notify_all()

    def add_partition(self) -> None:
        self._records[len(self._records)] = []
        self._has_changed = True

    def bounds(self) -> Mapping[int, bridging.Bounds]:
        self._check()
        return {number: bridging.Bounds(0, len(log)) for number, log in self._records.items()}

    def start(self, offsets: Mapping[int, int]) -> None:
        self._next = dict(offsets)
        self._has_changed = False

    def take(self, *, limit: int, timeout_s: float) -> Sequence[messages.Record]:
        with self._changed:
            self._changed.wait_for(self._unread, timeout_s)
            self._check()
            taken = self._unread()[:limit]
        for record in taken:
            self._next[record.partition] = record.offset + 1
        return taken

    def has_changed(self) -> bool:
        self._check()
        return self._has_changed

    def _unread(self) -> list[messages.Record]:
        return [record for number, offset in self._next.items() for record in self._records[number][offset:]]

    def _check(self) -> None:
        if self.is_down:
            raise ports.DependencyDown("Kafka is down")

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(self, *_: object) -> None:
        self._next = {}


class FakeSink:
    """Passes as `bridging.ports.Sink`; takes at most `at_once` in a call."""

    def __init__(self, *, at_once: int = 1000) -> None:
        self.delivered: list[bridging.Announcement] = []
        self.is_down = False
        self._at_once = at_once
        self._changed = threading.Condition()
        self.refusals = 0

    def deliver(self, announcements: Sequence[bridging.Announcement]) -> int:
        taken = announcements[: self._at_once]
        with self._changed:
            if self.is_down:
                self.refusals += 1
                self._changed.notify_all()
                raise ports.DependencyDown("the other side is down")
            self.delivered.extend(taken)
            self._changed.notify_all()
        return len(taken)

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.delivered) >= count, PATIENCE_S), self.delivered

    def wait_for_refusal(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.refusals, PATIENCE_S)
