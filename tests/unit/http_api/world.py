"""An API with fakes all around it, and a worker that does as it is told."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette import testclient

from allocation import views
from allocation.entrypoints.http_api import application, parts
from allocation.entrypoints.observing import readiness
from allocation.service_layer import envelopes, messages, ports, reading, signals, topics
from allocation.service_layer.operations import status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from opentelemetry import trace

PROMPT_S = 30.0  # nobody waits so long: what is awaited comes


class JsonSerializer:
    """Values in a form that a test can read; the first five bytes stand for the wire format's header."""

    def serialize(self, record_name: str, fields: Mapping[str, Any]) -> bytes:
        return b"\0\0\0\0\1" + json.dumps([record_name, fields], default=str).encode()


class Place(NamedTuple):
    topic: str
    partition: int
    offset: int


class FakeReads:
    """The database, as far as the worker has written it."""

    def __init__(self) -> None:
        self.inbox: dict[str, views.CommandOutcome] = {}
        self.lines: dict[str, tuple[views.AllocatedLine, ...]] = {}
        self.looks: list[tuple[str, ...]] = []
        self.down = False
        self.failures: list[Exception] = []
        self.outbox = status.Backlog(2, 1.5)

    def allocations(self, orderid: str) -> tuple[views.AllocatedLine, ...]:
        self.check()
        return self.lines.get(orderid, ())

    def outcome(self, commandid: str) -> views.CommandOutcome | None:
        self.check()
        return self.inbox.get(commandid)

    def outcomes(self, commandids: Collection[str]) -> Mapping[str, views.CommandOutcome]:
        self.check()
        if self.failures:
            raise self.failures.pop()
        self.looks.append(tuple(commandids))
        return {commandid: self.inbox[commandid] for commandid in commandids if commandid in self.inbox}

    def figures(self) -> status.DatabaseFigures:
        self.check()
        nothing = status.Backlog(0, None)
        return status.DatabaseFigures(
            next_offsets={}, outbox=self.outbox, quarantined=nothing, parked={}, owners={}, maintained_at=None
        )

    def check(self) -> None:
        if self.down:
            raise ports.DependencyDown("the database does not answer: it is down")


class FakeRegistry:
    """The schema registry, which the API does not need for its own schemas."""

    def __init__(self) -> None:
        self.down = False

    def check(self) -> None:
        if self.down:
            raise ports.DependencyDown("the schema registry at nowhere:8081 does not answer")


class FakeHints:
    """Hints that the test's worker gives."""

    def __init__(self) -> None:
        self._committed = threading.Event()
        self._over = False

    def finish(self) -> None:
        """Make nobody wait any more."""
        self._over = True
        self.give()

    def give(self) -> None:
        self._committed.set()

    def wait(self, timeout_s: float) -> bool:
        came = self._committed.wait(timeout_s)
        if not self._over:
            self._committed.clear()
        return came


class FakeLog:
    """The command topics, with a worker behind them that does as it is told."""

    def __init__(self, reads: FakeReads, hints: FakeHints) -> None:
        self._reads = reads
        self._hints = hints
        self.messages: list[messages.OutboxMessage] = []
        self.down = False
        self.outcome: dict[str, Any] | None = {"status": "handled"}

    def send(self, message: messages.OutboxMessage, *, timeout_s: float) -> Place:
        del timeout_s
        self.check()
        self.messages.append(message)
        place = Place(message.topic, 3, len(self.messages) - 1)
        if self.outcome is not None:
            self.handle(message, place, **self.outcome)
        return place

    def check(self) -> None:
        if self.down:
            raise ports.DependencyDown("Kafka at nowhere:9092 does not answer")

    def handle(self, message: messages.OutboxMessage, place: Place, **outcome: Any) -> None:
        commandid = header(message, messages.CE_ID)
        self._reads.inbox.setdefault(
            commandid,
            views.CommandOutcome(
                id=commandid,
                source=parts.SOURCE,
                digest=reading.digest(message.topic, message.value),
                **place._asdict(),
                **outcome,
            ),
        )
        self._hints.give()


class World:
    """An API and everything around it."""

    def __init__(self, timeout_s: float = PROMPT_S, *, traces: trace.TracerProvider | None = None) -> None:
        self.reads = FakeReads()
        self.hints = FakeHints()
        self.log = FakeLog(self.reads, self.hints)
        self.registry = FakeRegistry()
        ready = readiness.Readiness(
            standing=signals.Standing(),
            database=self.reads.figures,
            partitions=self.log.check,
            others={"schema registry": self.registry.check},
            expected=(ports.DependencyDown,),
            outbox_age_limit_s=30,
        )
        app = application.create(
            parts.Parts(
                log=self.log,
                envelopes=envelopes.Envelopes(topics=topics.TopicNames(), serializer=JsonSerializer()),
                reads=self.reads,
                hints=self.hints,
                look=ready.look,
                timeout_s=timeout_s,
            ),
            traces=traces,
        )
        self.client = testclient.TestClient(app, raise_server_exceptions=False)

    def sent(self) -> list[Any]:
        return [json.loads((message.value or b"")[5:]) for message in self.log.messages]


def header(message: messages.OutboxMessage, name: str) -> str:
    return (dict(message.headers)[name] or b"").decode()


A_LINE = {"orderid": "o1", "sku": "CHAIR", "qty": 3}
A_BATCH = {"ref": "b1", "sku": "CHAIR", "qty": 100, "eta": None}
A_QUANTITY = {"batchref": "b1", "qty": 0}
