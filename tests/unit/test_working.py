from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from allocation.domain import commands
from allocation.service_layer import (
    brakes,
    envelopes,
    failure_policy,
    grace,
    messages,
    ports,
    refusals,
    reporting,
    signals,
    working,
)
from tests import builders, installations
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(working, "HOUSEKEEPING_INTERVAL_S", -1)  # at every turn
    return Scene()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[structlog.types.EventDict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def events_of(logged: list[structlog.types.EventDict]) -> list[str]:
    return [line["event"] for line in logged]


def test_offsets_are_committed_once_the_database_has_the_effect(
    scene: Scene, logged: list[structlog.types.EventDict]
) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1), commands.Allocate("o1", "NO", 1))
    scene.run()
    assert scene.consumer.committed == [0, 1]
    [line] = [line for line in logged if line["event"] == "worker.batch"]
    assert (line["records"], line["handled"], line["waited"], line["events"]) == (2, 1, 1, 0)


def test_a_batch_is_told_with_the_traces_that_its_senders_keep(
    scene: Scene, logged: list[structlog.types.EventDict]
) -> None:
    scene.consumer.arriving.append(
        [
            builders.a_record(b"rubbish", offset=0),
            a_traced("a", offset=1),
            a_traced("b", flags="00", offset=2),
            a_traced("c", offset=3),
            a_traced("a", offset=4),
        ]
    )
    scene.run()
    [line] = [line for line in logged if line["event"] == "worker.batch"]
    assert line["trace_ids"] == ["a" * 32, "c" * 32]
    assert "trace_id" not in line


def a_traced(digit: str, *, offset: int, flags: str = "01") -> messages.Record:
    header = f"00-{digit * 32}-b7ad6b7169203331-{flags}".encode()
    return builders.a_record(b"rubbish", offset=offset, headers=((messages.TRACEPARENT, header),))


def test_a_refused_command_is_named_with_its_reason(scene: Scene, logged: list[structlog.types.EventDict]) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = ((messages.CE_ID, b"17"), (messages.CE_SOURCE, b"shop"))
    traced = (*headers, (messages.TRACEPARENT, f"00-{trace}-{span}-01".encode()))
    scene.consumer.arriving.append(
        [builders.a_record(b"rubbish", topic="allocate", partition=2, offset=5, headers=traced)]
    )
    scene.run()
    [line] = [line for line in logged if line["event"] == "worker.refused"]
    assert line.pop("error")
    assert line == {
        "event": "worker.refused",
        "log_level": "warning",
        "topic": "allocate",
        "partition": 2,
        "offset": 5,
        "message_id": "17",
        "reason": "undecodable",
        "trace_id": trace,
    }


def test_a_flood_of_rubbish_does_not_flood_the_log(scene: Scene, logged: list[structlog.types.EventDict]) -> None:
    scene.consumer.arriving.append([builders.a_record(b"rubbish", offset=offset) for offset in range(25)])
    scene.run()
    assert events_of(logged).count("worker.refused") == refusals.MAX_LINES
    assert [line["messages"] for line in logged if line["event"] == "worker.refused_more"] == [5]


def test_a_conflict_is_tried_again_after_a_short_while(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.Retryable("a conflict")] * 3
    scene.run()
    assert scene.consumer.committed == [0]
    assert len(scene.consumer.pauses) == 3
    assert all(pause < 1 for pause in scene.consumer.pauses)


def test_an_outage_of_any_length_is_waited_out(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.DependencyDown("no database") for _ in range(2000)]
    scene.run()
    assert scene.consumer.committed == [0]
    assert len(scene.consumer.pauses) == 2000
    assert min(scene.consumer.pauses[10:]) >= 2.5
    assert max(scene.consumer.pauses) <= 5
    assert len(set(scene.consumer.pauses[10:])) > 1000, "no two workers shall come back together, time after time"


@pytest.mark.parametrize(
    ("error", "first_s", "last_s"),
    [(ports.DependencyDown("no database"), 0.05, 5.0), (ports.Retryable("a conflict"), 0.05, 0.5)],
    ids=["outage", "conflict"],
)
def test_pauses_double_up_to_a_limit_and_lie_between_half_and_whole_of_it(
    scene: Scene, error: ports.Retryable, first_s: float, last_s: float
) -> None:
    longest = [min(first_s * 2**number, last_s) for number in range(12)]
    pauses = pauses_after(scene, error, times=len(longest))
    assert not [(pause, limit) for pause, limit in zip(pauses, longest, strict=True) if not limit / 2 <= pause <= limit]
    assert longest[-1] == last_s
    again = pauses_after(Scene(), error, times=len(longest))
    assert all(one != another for one, another in zip(pauses, again, strict=True)), "two workers came back together"


def pauses_after(scene: Scene, error: ports.Retryable, *, times: int) -> list[float]:
    """Return how long a worker pauses after each of so many failures in a row."""
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [error] * times
    scene.run()
    return scene.consumer.pauses


def test_whoever_listens_is_told_a_conflict_from_an_outage(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.Retryable("a conflict"), ports.DependencyDown("no database")]
    scene.consumer.arriving.append(ports.DependencyDown("no Kafka"))
    scene.run()
    assert scene.standing.outages == [False, True, True]


def test_after_a_lost_connection_nothing_is_written_before_the_database_is_known_to_be_no_older(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.DependencyDown("the connection is lost")]
    scene.consumer.on_pause = lambda: setattr(scene.currency, "is_doubtful", True)
    scene.currency.finds = [ports.DependencyDown("no database"), RuntimeError("it is older")]
    with pytest.raises(RuntimeError, match="it is older"):
        scene.run()
    assert scene.currency.checked_after == [0, 0]
    assert scene.database.commits == 0


def test_a_database_that_has_gone_back_is_gone_on_with_from_its_positions_if_its_topics_are_no_newer(
    scene: Scene,
) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.run()
    scene.stopping.clear()
    scene.database.state.positions.clear()
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    log = messages.LogPartition("id of create_batch", 0)
    scene.consumer.ends = [messages.LogEnd("create_batch", log, 1, 2)]
    scene.consumer.on_placed = lambda: scene.processor.forget(log)
    scene.run()
    assert (scene.currency.checked_after, scene.consumer.placed_again) == ([1], 1)
    assert scene.database.state.positions[log].next_offset == 1


def test_after_an_outage_pauses_are_short_again(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.consumer.arriving.extend(ports.DependencyDown("no Kafka") for _ in range(12))
    scene.arrive(commands.CreateBatch("b2", "LAMP", 1))
    scene.consumer.arriving.append(ports.DependencyDown("no Kafka"))
    scene.run()
    assert scene.consumer.pauses[-2] > 2
    assert scene.consumer.pauses[-1] < 0.1


def test_records_that_may_be_anothers_after_a_rebalance_are_let_go(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.DependencyDown("no database")]

    def rebalance() -> None:
        scene.consumer.rebalances += 1

    scene.consumer.on_pause = rebalance
    scene.run()
    assert scene.consumer.placed_again == 1
    assert (scene.consumer.committed, scene.database.commits) == ([], 0)


def test_a_stop_during_an_outage_lets_the_records_go(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.DependencyDown("no database")] * 5
    scene.consumer.on_pause = scene.stopping.set
    scene.run()
    assert (len(scene.consumer.pauses), scene.consumer.placed_again, scene.consumer.committed) == (1, 1, [])


def test_a_stop_lets_the_batch_in_hand_be_finished(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.arrive(commands.CreateBatch("b2", "LAMP", 1))
    process = scene.processor.process

    class StopsMeanwhile:
        def process(self, records: Sequence[messages.Record], **_: object) -> list[reporting.Report]:
            scene.stopping.set()
            return [process(records)]

    scene.run(StopsMeanwhile())
    assert scene.consumer.committed == [0]
    assert scene.database.commits == 1


def test_a_conflict_that_never_ends_becomes_a_fault(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    told: list[bool] = []

    class AlwaysInConflict:
        def process(self, _: Sequence[messages.Record], *, conflicts_are_faults: bool) -> list[reporting.Report]:
            told.append(conflicts_are_faults)
            if conflicts_are_faults:
                return []
            raise ports.Retryable("a conflict")

    scene.run(AlwaysInConflict())
    assert told == [*[False] * 20, True]


def test_a_log_that_diverged_is_left_alone_and_the_others_go_on(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1), commands.Allocate("o1", "LAMP", 1))
    scene.consumer.arriving.append(
        [a_record(commands.Allocate("o9", "LAMP", 1), 1), a_record(commands.CreateBatch("b2", "LAMP", 1), 1)]
    )
    scene.run()
    assert scene.consumer.aside == [("allocate", 0)]
    assert {batch.reference for batch in scene.database.state.products["LAMP"].batches} == {"b1", "b2"}
    assert scene.consumer.committed == [0, 1, 1]
    assert scene.consumer.placed_again == 0


def test_a_batch_of_nothing_but_a_diverged_log_is_dropped(scene: Scene) -> None:
    scene.arrive(commands.Allocate("o1", "LAMP", 1))
    scene.arrive(commands.Allocate("o9", "LAMP", 1))
    scene.run()
    assert (scene.consumer.aside, scene.consumer.committed) == ([("allocate", 0)], [0])


def test_the_ends_of_logs_are_passed_over_to(scene: Scene) -> None:
    scene.consumer.ends = [messages.LogEnd("allocate", LOG, 0, 2)]
    scene.run()
    assert scene.database.state.positions[LOG].next_offset == 2


def test_an_end_is_not_forgotten_when_the_database_is_down(scene: Scene) -> None:
    scene.consumer.ends = [
        messages.LogEnd("allocate", LOG, 0, 2),
        messages.LogEnd("allocate", LOG._replace(partition=1), 0, 3),
    ]
    scene.database.failures = [ports.DependencyDown("no database")] * 2
    scene.run()
    assert [position.next_offset for position in scene.database.state.positions.values()] == [2, 3]


def test_commands_whose_grace_is_over_are_refused_in_between(
    scene: Scene, logged: list[structlog.types.EventDict]
) -> None:
    scene.arrive(commands.Allocate("o1", "LAMP", 1))
    scene.consumer.arriving.extend([(), (), ()])
    scene.consumer.on_pause = scene.stopping.set
    begin = scene.database.begin

    def later() -> fakes.FakeUnitOfWork:
        uow = begin()
        scene.database.now = builders.NOW.replace(hour=23)
        return uow

    scene.processor = installations.a_processor(later)
    scene.run()
    assert [line["expired"] for line in logged if line["event"] == "worker.grace_over"] == [1]
    assert [report.outcomes["expired"] for report in scene.standing.expirations] == [1]
    assert [line["reason"] for line in logged if line["event"] == "worker.refused"] == ["invalid_sku"]
    assert scene.database.state.parked == []


def test_a_full_outbox_stops_the_worker_until_there_is_room(
    scene: Scene, logged: list[structlog.types.EventDict]
) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.outbox_rows = 10

    def drain() -> None:
        assert scene.consumer.sizes == []
        scene.outbox_rows -= 1

    scene.consumer.on_pause = drain
    scene.run()
    assert scene.consumer.committed == [0]
    assert len(scene.consumer.pauses) == 2
    assert events_of(logged)[:2] == ["worker.stands_still", "worker.goes_on"]


def test_in_an_intermission_the_worker_is_no_member_of_its_group_and_says_so(
    scene: Scene, logged: list[structlog.types.EventDict]
) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.arrive(commands.Allocate("o1", "LAMP", 1))
    process = scene.processor.process
    said: list[dict[str, str]] = []

    class CalledMeanwhile(failure_policy.FailurePolicy):
        def process(self, records: Sequence[messages.Record], **_: object) -> list[reporting.Report]:
            if not scene.consumer.moves:
                scene.intermission = "jane, vm:17: a test"
            return [process(records)]

    def come_back() -> None:
        said.append(problems(scene))
        if len(said) == 3:
            scene.intermission = None

    scene.consumer.on_pause = come_back
    scene.run(CalledMeanwhile(scene.processor, max_retries=0))
    assert scene.consumer.moves == ["leaves after [0]", "joins"]
    assert scene.consumer.committed == [0, 0]
    assert said[0] == {}
    assert said[1].keys() == {"assignment"}
    assert said[1] == said[2]
    assert "stands still since" in said[1]["assignment"]
    assert "jane, vm:17: a test" in said[1]["assignment"]
    assert problems(scene) == {}
    events = [one for one in events_of(logged) if one.startswith("worker.") and one != "worker.batch"]
    assert events == ["worker.leaves_group", "worker.joins_again"]


def test_an_intermission_outlasts_an_outage_of_the_database(scene: Scene) -> None:
    scene.intermission = "jane, vm:17: a test"
    pauses: list[float] = []

    def go_on() -> None:
        pauses.append(1)
        scene.currency.is_doubtful = len(pauses) == 1
        scene.currency.finds = [ports.DependencyDown("no database")]
        if len(pauses) == 5:
            scene.intermission = None

    scene.consumer.on_pause = go_on
    scene.run()
    assert scene.consumer.moves == ["leaves after []", "joins"]
    assert scene.standing.outages == [True]


def test_a_batch_that_fails_is_followed_by_smaller_ones(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.consumer.arriving.append(())
    scene.database.failures = [ports.Retryable("a conflict")] * 3
    scene.run(batch_size=100)
    assert scene.consumer.sizes[:2] == [100, 24]


def test_house_is_kept_now_and_then_only(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "HOUSEKEEPING_INTERVAL_S", 3600)
    scene.consumer.arriving.extend([(), ()])
    looks: list[int] = []
    scene.consumer.take_ends = lambda: looks.append(1) or []  # type: ignore[method-assign, func-returns-value]
    scene.run()
    assert (len(looks), len(scene.consumer.sizes)) == (1, 3)


def test_what_was_more_than_one_transaction_may_take_is_tried_again_in_smaller_ones(scene: Scene) -> None:
    """The server closes the connection of a transaction that takes too long: it looks like an outage."""
    sizes: list[int] = []

    class Limited(failure_policy.FailurePolicy):
        def process(
            self, records: Sequence[messages.Record], *, conflicts_are_faults: bool = False
        ) -> list[reporting.Report]:
            sizes.append(len(records))
            if len(records) > 3:
                msg = "the database does not answer: server closed the connection unexpectedly"
                raise ports.DependencyDown(msg)
            return super().process(records, conflicts_are_faults=conflicts_are_faults)

    scene.arrive(*(commands.CreateBatch(f"b{number}", "LAMP", 1) for number in range(8)))
    scene.run(Limited(scene.processor, max_retries=0), batch_size=8)
    assert sizes[:3] == [8, 4, 2]
    assert scene.consumer.committed == list(range(8))
    assert scene.consumer.placed_again == 0


def problems(scene: Scene) -> dict[str, str]:
    return {item: said.problem for item, said in scene.standing.items().items() if said.problem is not None}


def test_a_worker_to_which_nothing_happens_says_that_all_is_well(scene: Scene) -> None:
    scene.run()
    assert {item: said.state for item, said in scene.standing.items().items()} == {
        "work": "ok",
        "assignment": "3 partitions",
        "partitions": "ok",
        "circuit": "ok",
        "outbox limit": "ok",
    }
    assert problems(scene) == {}


def test_what_a_worker_waits_for_is_said_until_it_has_succeeded(scene: Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.DependencyDown("no database")]
    said: list[dict[str, str]] = []
    scene.consumer.on_pause = lambda: said.append(problems(scene))
    scene.run()
    assert said == [{"work": "no database"}]
    assert problems(scene) == {}


def test_a_worker_that_is_braked_says_why(scene: Scene) -> None:
    scene.consumer.arriving.append([builders.a_record(None, offset=offset) for offset in range(brakes.WINDOW)])
    scene.consumer.on_pause = scene.stopping.set
    scene.run()
    assert problems(scene).keys() == {"circuit"}
    assert "most of the last 1000 messages were refused" in problems(scene)["circuit"]


def test_partitions_of_which_nothing_is_taken_are_named(scene: Scene) -> None:
    scene.consumer.assigned = 0
    scene.consumer.held = ("allocate/1", "allocate/2")
    scene.run()
    assert problems(scene).keys() == {"assignment"}
    assert scene.standing.items()["partitions"].state == "held until others have caught up: allocate/1, allocate/2"
    scene.stopping.clear()
    scene.consumer.problems = {"allocate/0": "the topic was re-created"}
    scene.run()
    assert problems(scene)["partitions"] == "allocate/0 is set aside: the topic was re-created"


def test_a_batch_of_one_is_told_by_its_ids_and_a_larger_one_by_its_place(
    scene: Scene, logged: list[structlog.types.EventDict]
) -> None:
    [alone] = [a_record(commands.CreateBatch("b1", "LAMP", 1), 0)]
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = ((messages.CE_ID, b"c1"), (messages.TRACEPARENT, f"00-{trace}-b7ad6b7169203331-01".encode()))
    scene.consumer.arriving.append([alone._replace(headers=headers)])
    scene.consumer.arriving.append([a_record(commands.Allocate(f"o{n}", "LAMP", 1), n) for n in (1, 2)])
    scene.run()
    one, two = [line for line in logged if line["event"] == "worker.batch"]
    assert (one["first"], one["message_id"], one["trace_id"]) == ("create_batch/0/0", "c1", trace)
    assert (two["first"], two["last"], "message_id" in two) == ("allocate/0/1", "allocate/0/2", False)
