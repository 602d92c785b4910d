"""What waits behind a batch, when there is more of it than one transaction takes, or when some of it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import stamina
import structlog

from allocation.domain import commands
from allocation.service_layer import (
    envelopes,
    failure_policy,
    failures,
    grace,
    handlers,
    messages,
    ports,
    processing,
    reporting,
    settling,
    unit_of_work,
)
from tests import builders, installations
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

CHUNK = 2
BATCH = commands.CreateBatch("b1", "LAMP", 100)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(unit_of_work, "QUEUE_CHUNK", CHUNK)
    monkeypatch.setattr(grace, "RELEASE_BUDGET_S", 60.0)  # whatever holds up a busy machine: what fits is done at once
    with stamina.set_testing(True, attempts=2), structlog.testing.capture_logs():  # tracebacks take long to render
        yield


class Scene:
    """A database, and a worker that can be replaced by another one."""

    def __init__(self) -> None:
        self.database = fakes.FakeDatabase()
        self.may_release = True
        self._offset = 0
        self.restart()

    def restart(self, kind: type[processing.Processor] = processing.Processor) -> None:
        """Have another worker take over: nothing is known but what is in the database."""
        processor = installations.a_processor(self.database.begin, kind=kind)
        self.processor: processing.Processor = processor
        self.policy = failure_policy.FailurePolicy(processor, max_retries=1)
        self.grace = grace.Grace(
            room=fakes.FakeWaitingRoom(self.database),
            ends=dict,
            processor=processor,
            policy=self.policy,
            may_release=lambda: self.may_release,
        )

    def send(self, *given: commands.Command) -> None:
        """Handle these as one micro-batch."""
        self.policy.process([self.record(command) for command in given])

    def record(self, command: commands.Command) -> messages.Record:
        name = type(command).__name__
        value = serde.FakeSerde().serialize(name, envelopes.command_fields(command))
        self._offset += 1
        return builders.a_record(value, topic=installations.NAMES.commands[name], offset=self._offset)

    def set_aside(self, command: commands.Command) -> None:
        """Have a command poisoned as soon as it is read."""
        self.processor.set_aside(self.record(command), failure=failures.Failure("a bug"))

    def check_thoroughly(self) -> None:
        """Check as often as it takes to find what fails."""
        for _ in range(5):
            self.grace.check()

    def step(self) -> None:
        """Do one transaction of what is to be released."""
        room = fakes.FakeWaitingRoom(self.database)
        queues = room.to_release(limit=10)
        self.processor.release(queues, room.creations(queues))

    @property
    def parked(self) -> list[tuple[str, str]]:
        return [(one.state, _about(one.message.command)) for one in self.database.state.parked]

    def lines(self, ref: str = "b1") -> list[str]:
        batches = [batch for one in self.database.state.products.values() for batch in one.batches]
        return [line.orderid for batch in batches if batch.reference == ref for line in batch.lines]


def _about(command: object) -> str:
    return command.orderid if isinstance(command, commands.Allocate) else command.ref  # type: ignore[attr-defined]


def orders(first: int, last: int) -> list[commands.Command]:
    return [commands.Allocate(f"o{number}", "LAMP", 1) for number in range(first, last + 1)]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_first_are_released_with_their_batch_and_the_rest_in_transactions_of_their_own(scene: Scene) -> None:
    scene.send(*orders(1, 5))
    scene.send(BATCH)
    assert scene.lines() == ["o1", "o2"]
    scene.step()
    assert scene.lines() == ["o1", "o2", "o3", "o4"]
    scene.grace.check()
    assert (scene.lines(), scene.parked) == (["o1", "o2", "o3", "o4", "o5"], [])
    assert scene.database.state.releases == set()


def test_what_comes_meanwhile_stands_behind_the_rest(scene: Scene) -> None:
    scene.send(*orders(1, 5))
    scene.send(BATCH, *orders(6, 6))
    scene.send(*orders(7, 7))
    assert scene.parked[-2:] == [("queued", "o6"), ("queued", "o7")]
    scene.grace.check()
    assert scene.lines() == [f"o{number}" for number in range(1, 8)]


def test_a_batch_that_comes_meanwhile_serves_none_that_came_before_it(scene: Scene) -> None:
    late = commands.CreateBatch("b1", "LAMP", 100, builders.LATER)
    scene.send(*orders(1, 5))
    scene.send(late, commands.CreateBatch("b2", "LAMP", 100), *orders(6, 6))
    scene.grace.check()
    assert (scene.lines("b1"), scene.lines("b2")) == ([f"o{number}" for number in range(1, 6)], ["o6"])


def test_another_worker_finishes_what_a_dead_one_has_begun(scene: Scene) -> None:
    scene.send(*orders(1, 5))
    scene.send(BATCH)
    scene.restart()
    scene.grace.check()
    assert scene.lines() == [f"o{number}" for number in range(1, 6)]


def test_the_journal_says_what_was_released_in_which_transaction(scene: Scene) -> None:
    scene.send(*orders(1, 5))
    scene.send(BATCH)
    scene.grace.check()
    words = [[(entry.what, entry.last - entry.first + 1) for entry in row] for row in scene.database.state.journal]
    assert words == [
        [("waited", 1), ("queued", 4)], [("handled", 1), ("released", 2)], [("released", 2)], [("released", 1)],
    ]  # fmt: skip


def test_nothing_is_released_while_the_worker_is_braked(scene: Scene) -> None:
    scene.send(*orders(1, 5))
    scene.send(BATCH)
    scene.may_release = False
    scene.grace.check()
    assert scene.lines() == ["o1", "o2"]


def test_a_release_ends_at_what_waits_for_another_batch_which_passes_the_rest(scene: Scene) -> None:
    change = commands.ChangeBatchQuantity("b2", 7, "LAMP")
    scene.send(*orders(1, 3), change, *orders(4, 6))
    scene.send(BATCH)
    scene.grace.check()
    assert (scene.lines(), scene.parked[0]) == (["o1", "o2", "o3"], ("waiting", "b2"))
    assert scene.database.state.releases == set()
    scene.send(commands.CreateBatch("b2", "LAMP", 9, builders.LATER))
    scene.grace.check()
    assert (scene.parked, scene.lines()) == ([], [f"o{number}" for number in range(1, 7)])


def test_a_batch_that_had_to_stand_behind_a_release_passes_what_waits_for_it(scene: Scene) -> None:
    scene.send(*orders(1, 3), commands.ChangeBatchQuantity("b2", 7, "LAMP"), *orders(4, 9))
    scene.send(BATCH, commands.CreateBatch("b2", "LAMP", 9, builders.LATER))
    scene.grace.check()
    assert (scene.parked, scene.lines()) == ([], [f"o{number}" for number in range(1, 10)])


def test_changes_that_waited_by_reference_keep_their_order_with_those_that_come_later(scene: Scene) -> None:
    scene.send(*(commands.ChangeBatchQuantity("b1", qty) for qty in (10, 20, 30, 40)))
    scene.send(BATCH, commands.ChangeBatchQuantity("b1", 50))
    scene.grace.check()
    [batch] = scene.database.state.products["LAMP"].batches
    assert (batch.purchased_quantity, scene.parked) == (50, [])


def test_a_long_queue_expires_in_several_transactions(scene: Scene) -> None:
    scene.send(*orders(1, 5))
    scene.database.now = builders.NOW + 2 * (builders.NOW - builders.NOW.replace(hour=0))
    for _ in range(5):
        scene.grace.check()
    assert scene.parked == []
    assert [len(row) and row[0].what for row in scene.database.state.journal[1:]] == ["expired"] * 3


def of_skus(*skus: str) -> tuple[list[commands.Command], list[commands.Command]]:
    """Return an order for each of these, and the batches that they wait for."""
    return (
        [commands.Allocate(f"o{sku}", sku, 1) for sku in skus],
        [commands.CreateBatch(f"b{sku}", sku, 100) for sku in skus],
    )


@pytest.fixture
def curse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the handler of `Allocate` a bug that some orders meet."""

    def lay(*orderids: str) -> None:
        def handle(command: commands.Allocate, uow: unit_of_work.UnitOfWork) -> str | None:
            result = handlers.allocate(command, uow)
            if command.orderid in orderids:
                raise LookupError(f"{command.orderid} is cursed")
            return result

        monkeypatch.setitem(handlers.COMMAND_HANDLERS, commands.Allocate, handle)

    return lay


def test_a_parked_command_that_fails_stays_and_its_batch_goes_through(
    scene: Scene, curse: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_of_work, "QUEUE_CHUNK", 100)
    curse("o2")
    scene.send(*orders(1, 3))
    scene.send(BATCH, *orders(4, 4))
    assert scene.lines() == ["o1"]
    assert scene.parked == [("poisoned", "o2"), ("queued", "o3"), ("queued", "o4")]
    culprit = scene.database.state.parked[0]
    assert (culprit.error, culprit.error_class, len(culprit.stack)) == (
        "LookupError: o2 is cursed", "LookupError", 12,
    )  # fmt: skip
    assert culprit.expires_at is None


def test_the_inbox_tells_of_a_parked_command_that_fails_how_and_no_more_what_it_waited_for(
    scene: Scene, curse: Callable[..., None]
) -> None:
    curse("o1")
    scene.send(*orders(1, 1))
    parked_id = scene.database.state.parked[0].message.id
    before = scene.database.state.inbox[parked_id]
    assert (before.outcome, before.reason) == ("waiting", "invalid_sku")
    scene.send(BATCH)
    after = scene.database.state.inbox[parked_id]
    assert after == before._replace(reason="failed", error="LookupError: o1 is cursed")


def test_one_that_fails_while_a_release_goes_on_stays_too(scene: Scene, curse: Callable[..., None]) -> None:
    curse("o4")
    scene.send(*orders(1, 5))
    scene.send(BATCH)
    poisoned = [one for report in scene.grace.check() for one in report.poisoned]
    assert [(one.message, one.failure.error_class) for one in poisoned] == [
        (scene.database.state.parked[0].message, "LookupError")
    ]
    assert (scene.lines(), scene.parked) == (["o1", "o2", "o3"], [("poisoned", "o4"), ("queued", "o5")])
    assert scene.database.state.releases == set()


def test_one_that_fails_when_its_grace_is_over_stays_too(scene: Scene, curse: Callable[..., None]) -> None:
    scene.send(BATCH, commands.ChangeBatchQuantity("b9", 1, "LAMP"), *orders(1, 2))
    curse("o1")
    scene.database.now = builders.NOW.replace(year=builders.NOW.year + 1)
    scene.grace.check()
    scene.grace.check()
    assert scene.parked == [("poisoned", "o1"), ("queued", "o2")]


def test_no_batch_passes_a_poisoned_command_that_stands_behind_one_that_waits(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_of_work, "QUEUE_CHUNK", 100)
    scene.send(commands.ChangeBatchQuantity("b9", 1, "LAMP"))
    scene.set_aside(commands.ChangeBatchQuantity("b1", 7))
    scene.send(BATCH)
    scene.send(commands.CreateBatch("b2", "LAMP", 9))
    reports = scene.grace.check()
    assert scene.parked == [("waiting", "b9"), ("poisoned", "b1"), ("queued", "b2")]
    assert (scene.database.state.releases, len(reports)) == (set(), 1)


def test_where_many_parked_commands_fail_their_batches_go_through_first(
    scene: Scene, curse: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_of_work, "QUEUE_CHUNK", 100)
    many = 3 * settling.MANY_FAILED
    orders, batches = of_skus(*(f"VASE-{number}" for number in range(many)), "LAMP")
    curse(*(order.orderid for order in orders[:-1]))  # type: ignore[union-attr]
    scene.send(*orders)
    scene.send(*batches)
    assert (len(scene.database.state.products), len(scene.parked)) == (many + 1, many + 1)
    scene.grace.check()
    assert [state for state, _ in scene.parked] == ["poisoned"] * many
    assert (scene.lines("bLAMP"), scene.database.state.releases) == (["oLAMP"], set())


def test_many_that_fail_when_a_release_goes_on_are_committed_part_by_part(
    scene: Scene, curse: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grace, "RELEASE_BUDGET_S", 0.0)
    orders, batches = of_skus(*(f"VASE-{number}" for number in range(9)))
    scene.send(*orders)
    curse(*(order.orderid for order in orders))  # type: ignore[union-attr]
    scene.send(*batches)
    for _ in range(9):
        poisoned = len([state for state, _ in scene.parked if state == "poisoned"])
        scene.grace.check()
        assert poisoned < len([state for state, _ in scene.parked if state == "poisoned"]) or poisoned == 9
    assert scene.database.state.releases == set()


class Unwritable(fakes.FakeUnitOfWork):
    """Cannot be committed with the line of one order in it."""

    orderid = "o4"

    def commit(self) -> None:
        for product in self._state.products.values():
            if any(line.orderid == self.orderid for batch in product.batches for line in batch.lines):
                raise LookupError(self.orderid)
        super().commit()


def test_one_whose_effect_cannot_be_written_is_found_and_stays_and_stops_no_other_queue(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.send(*orders(1, 5), *(commands.Allocate(f"v{number}", "VASE", 1) for number in range(1, 6)))
    scene.send(BATCH)
    scene.send(commands.CreateBatch("b2", "VASE", 100))
    monkeypatch.setattr(unit_of_work, "QUEUE_CHUNK", 16)
    monkeypatch.setattr(scene.database, "begin", lambda: Unwritable(scene.database))
    scene.restart()
    scene.check_thoroughly()
    assert (scene.lines(), scene.parked) == (["o1", "o2", "o3"], [("poisoned", "o4"), ("queued", "o5")])
    assert scene.database.state.parked[0].error == "LookupError: o4"
    assert (len(scene.lines("b2")), scene.database.state.releases) == (5, set())


def test_one_whose_refusal_cannot_be_written_is_found_too(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.send(BATCH, commands.ChangeBatchQuantity("b9", 1, "LAMP"), *orders(3, 5))
    monkeypatch.setattr(scene.database, "begin", lambda: Unwritable(scene.database))
    scene.restart()
    scene.database.now = builders.NOW.replace(year=builders.NOW.year + 1)
    scene.check_thoroughly()
    assert (scene.lines(), scene.parked) == (["o3"], [("poisoned", "o4"), ("queued", "o5")])


class Slow(processing.Processor):
    """Lost with each transaction of more than a few commands."""

    FEW = 3

    def release(self, *given: Any, at_most: int | None = None, **more: Any) -> reporting.Report:
        if at_most is None or at_most > self.FEW:
            raise ports.DependencyDown("the transaction took too long")
        return super().release(*given, at_most=at_most, **more)


def test_a_release_that_takes_too_long_is_gone_on_with_in_smaller_transactions(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.send(*orders(1, 9))
    scene.send(BATCH)
    monkeypatch.setattr(unit_of_work, "QUEUE_CHUNK", 16)
    scene.restart(Slow)
    failures = 0
    while scene.database.state.releases:
        try:
            scene.grace.check()
        except ports.DependencyDown:
            failures += 1
        assert failures < 20
    assert scene.lines() == [f"o{number}" for number in range(1, 10)]


class Unreadable(fakes.FakeUnitOfWork):
    """Cannot even read what is parked for the lamp."""

    def parked(self, queues: Collection[str]) -> Sequence[unit_of_work.ParkedCommand]:
        assert "sku:LAMP" not in queues
        return super().parked(queues)


def test_a_queue_that_cannot_even_be_read_is_left_alone_for_a_while(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.send(*orders(1, 5), *(commands.Allocate(f"v{number}", "VASE", 1) for number in range(1, 6)))
    scene.send(BATCH)
    scene.send(commands.CreateBatch("b2", "VASE", 100))
    monkeypatch.setattr(scene.database, "begin", lambda: Unreadable(scene.database))
    scene.restart()
    with structlog.testing.capture_logs() as logged:
        scene.check_thoroughly()
    told = [line["queue"] for line in logged if line["event"] == "worker.grace_failed"]
    assert (told, scene.database.state.releases, len(scene.lines("b2"))) == (["sku:LAMP"], {"sku:LAMP"}, 5)
