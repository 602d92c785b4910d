"""A worker among fakes, and what it is given."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from allocation.service_layer import brakes, envelopes, failure_policy, grace, messages, reporting, signals, working
from tests import builders, installations
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import structlog

    from allocation.domain import commands

VALUES = serde.FakeSerde()
LOG = messages.LogPartition("id of allocate", 0)


class FakeConsumer:
    """Hands out what is given, then ends the run; notes what it is told."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self.rebalances = 0
        self.arriving: deque[Sequence[messages.Record] | Exception] = deque()
        self.ends: list[messages.LogEnd] = []
        self.sizes: list[int] = []
        self.committed: list[int] = []
        self.pauses: list[float] = []
        self.placed_again = 0
        self.moves: list[str] = []
        self.aside: list[tuple[str, int]] = []
        self.assigned = 3
        self.held: tuple[str, ...] = ()
        self.problems: dict[str, str] = {}
        self.on_pause: Callable[[], None] = lambda: None
        self.on_placed: Callable[[], None] = lambda: None

    def poll(self, max_records: int, *, timeout_s: float) -> Sequence[messages.Record]:  # noqa: ARG002
        self.sizes.append(max_records)
        if not self.arriving:
            self._stopping.set()
            return ()
        arrived = self.arriving.popleft()
        if isinstance(arrived, Exception):
            raise arrived
        return arrived

    def keep_alive(self, duration_s: float) -> None:
        self.pauses.append(duration_s)
        self.on_pause()

    def leave(self) -> None:
        self.moves.append(f"leaves after {self.committed}")
        self.assigned = 0

    def join(self) -> None:
        self.moves.append("joins")
        self.assigned = 3

    def place_again(self) -> None:
        self.placed_again += 1
        self.on_placed()

    def set_aside(self, topic: str, partition: int, problem: str) -> None:  # noqa: ARG002
        self.aside.append((topic, partition))

    def partitions(self) -> signals.Partitions:
        return signals.Partitions(assigned=self.assigned, held=self.held, set_aside=dict(self.problems))

    def take_ends(self) -> Iterable[messages.LogEnd]:
        ends, self.ends = self.ends, []
        return ends

    def commit(self, records: Iterable[messages.Record]) -> None:
        self.committed.extend(record.offset for record in records)


class FakeCurrency:
    """`finds` is raised by the next checks; notes what was committed by then."""

    def __init__(self, database: fakes.FakeDatabase) -> None:
        self._database = database
        self.is_doubtful = False
        self.finds: list[Exception] = []
        self.checked_after: list[int] = []

    def check(self) -> None:
        self.checked_after.append(self._database.commits)
        if self.finds:
            raise self.finds.pop(0)
        self.is_doubtful = False


class Listening(signals.Standing):
    """Notes of each retry whether it was for an outage, and what became of graces."""

    def __init__(self) -> None:
        super().__init__()
        self.outages: list[bool] = []
        self.expirations: list[reporting.Report] = []

    def retries(self, *, is_outage: bool) -> None:
        self.outages.append(is_outage)

    def expired(self, report: reporting.Report) -> None:
        self.expirations.append(report)


class Scene:
    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.consumer = FakeConsumer(self.stopping)
        self.database = fakes.FakeDatabase()
        self.processor = installations.a_processor(self.database.begin)
        self.currency = FakeCurrency(self.database)
        self.outbox_rows = 0
        self.intermission: str | None = None
        self.standing = Listening()
        self.ends_known: dict[messages.LogPartition, int] = {}

    def run(self, policy: Any = None, *, batch_size: int = 100) -> None:
        worker = working.Worker(
            consumer=self.consumer,
            processor=self.processor,
            policy=policy or failure_policy.FailurePolicy(self.processor, max_retries=0),
            grace=grace.Grace(
                room=fakes.FakeWaitingRoom(self.database),
                ends=lambda: self.ends_known,
                processor=self.processor,
                policy=failure_policy.FailurePolicy(self.processor, max_retries=0),
            ),
            currency=self.currency,
            brakes=brakes.Brakes(
                circuit=brakes.Circuit(limit=0.5),
                outbox_limit=10,
                database=lambda limit: brakes.Look(min(limit, self.outbox_rows), self.intermission),
            ),
            batch_size=brakes.BatchSize(batch_size),
            signals=self.standing,
        )
        worker.run(self.stopping)

    def arrive(self, *given: commands.Command) -> list[messages.Record]:
        records = [a_record(command, offset) for offset, command in enumerate(given)]
        self.consumer.arriving.append(records)
        return records


def a_record(command: commands.Command, offset: int) -> messages.Record:
    name = type(command).__name__
    value = VALUES.serialize(name, envelopes.command_fields(command))
    return builders.a_record(value, topic=installations.NAMES.commands[name], offset=offset)


def events_of(logged: list[structlog.types.EventDict]) -> list[str]:
    return [line["event"] for line in logged]


def problems(scene: Scene) -> dict[str, str]:
    return {item: said.problem for item, said in scene.standing.items().items() if said.problem is not None}
