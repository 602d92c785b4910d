"""Releasing and discarding parked commands, on PostgreSQL, as the worker's processing has parked them."""

from __future__ import annotations

import datetime
from concurrent import futures
from typing import Any

import pytest
import sqlalchemy

from allocation.adapters.postgres import operator_work, parked_room, tables
from allocation.domain import commands
from allocation.service_layer import envelopes, failures, handlers, messages, unit_of_work
from allocation.service_layer.operations import audit, parked
from tests import builders, installations, waiting
from tests.fakes import serde

NOTE = audit.Note("jane", "the bug is mended")
STOCK = commands.CreateBatch("b1", "LAMP", 100)


@pytest.fixture
def world(shared_database: sqlalchemy.Engine) -> World:
    return World(shared_database)


class World:
    """An installation with commands in it, and its operator."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        self.database = database
        self.installation = installations.PostgresInstallation(database)
        self.installation.empty()
        with database.begin() as connection:
            connection.execute(tables.audit.delete())
        self.processor = installations.a_processor(self.installation.begin)
        self.operator = parked.ParkedCommands(
            room=parked_room.PostgresParkedRoom(database),
            begin=lambda: operator_work.PostgresOperatorUnitOfWork(database, journal_topic=installations.NAMES.journal),
            envelopes=envelopes.Envelopes(topics=installations.NAMES, serializer=serde.FakeSerde()),
            grace=datetime.timedelta(seconds=installations.GRACE_S),
        )

    def take(self, *given: commands.Command) -> None:
        """Have the worker handle commands."""
        self.processor.process([self._record(command) for command in given])

    def poison(self, command: commands.Command) -> None:
        """Have the worker set a command aside that fails."""
        self.processor.set_aside(
            self._record(command), failure=failures.Failure("TypeError: a bug", "TypeError", "abc123")
        )

    def parked(self) -> list[tuple[str, str]]:
        """What is parked, in order: the state, and the order or batch that it is about."""
        return [(one.parked.state, _about(one.parked.message.command)) for one in self.operator.find(parked.Filter())]

    def all_parked(self) -> list[unit_of_work.ParkedCommand]:
        return [one.parked for one in self.operator.find(parked.Filter())]

    def lines(self) -> list[str]:
        """The orders in the only batch, in the order in which they came to it."""
        (batch,) = self.installation.contents().batches.values()
        return [line.orderid for line in batch.lines]

    def rows(self, table: sqlalchemy.Table) -> list[Any]:
        with self.database.connect() as connection:
            return list(connection.execute(table.select().order_by(*table.primary_key)))

    def journal(self) -> list[str]:
        """The last row of the journal: what was done, to how many."""
        return [f"{what} {last - first + 1}" for what, _, _, first, last in self.rows(tables.journal)[-1].entries]

    def audited(self) -> list[str]:
        return [f"{row.who} {row.what}: {row.why}" for row in self.rows(tables.audit)]

    def _record(self, command: commands.Command) -> messages.Record:
        name = type(command).__name__
        value = serde.FakeSerde().serialize(name, envelopes.command_fields(command))
        return builders.a_record(value, topic=installations.NAMES.commands[name])


def _about(command: object) -> str:
    return command.orderid if isinstance(command, commands.Allocate) else command.ref  # type: ignore[attr-defined]


def an_order(orderid: str) -> commands.Allocate:
    return builders.an_allocate(orderid=orderid)


def curse(monkeypatch: pytest.MonkeyPatch, orderid: str) -> None:
    """Give the handler of `Allocate` a bug that one order meets."""

    def handle(command: commands.Allocate, uow: unit_of_work.UnitOfWork) -> str | None:
        result = handlers.allocate(command, uow)
        if command.orderid == orderid:
            msg = f"{orderid} is cursed"
            raise LookupError(msg)
        return result

    monkeypatch.setitem(handlers.COMMAND_HANDLERS, commands.Allocate, handle)


def test_a_release_handles_the_poisoned_command_and_what_stands_behind_it_in_order(world: World) -> None:
    world.take(STOCK)
    world.poison(an_order("o1"))
    world.take(an_order("o2"), an_order("o3"))
    assert world.parked() == [("poisoned", "o1"), ("queued", "o2"), ("queued", "o3")]

    result = world.operator.release("sku:LAMP", NOTE)

    assert (result.counts, result.failure) == ({"handled": 3}, None)
    assert world.parked() == []
    assert world.lines() == ["o1", "o2", "o3"]
    assert [entry.split()[0] for entry in world.journal()] == ["released"] * len(world.journal())
    assert world.audited() == ["jane parked.released: the bug is mended"]
    assert {entry.outcome for entry in world.installation.contents().inbox.values()} == {"handled"}


def test_a_long_queue_is_released_in_several_transactions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_of_work, "QUEUE_CHUNK", 2)
    world.take(STOCK)
    world.poison(an_order("o1"))
    world.take(*(an_order(f"o{number}") for number in range(2, 6)))
    assert world.operator.release("sku:LAMP", NOTE).counts == {"handled": 5}
    assert world.lines() == ["o1", "o2", "o3", "o4", "o5"]
    assert len(world.audited()) == 3


def test_what_fails_again_stays_with_all_behind_it_and_nothing_is_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.take(STOCK)
    world.poison(an_order("o1"))
    world.take(an_order("o2"))
    before = world.installation.contents()
    curse(monkeypatch, "o1")
    result = world.operator.release("sku:LAMP", NOTE)
    assert result.failure is not None
    assert result.failure.endswith("fails: LookupError: o1 is cursed")
    assert world.installation.contents() == before
    assert world.audited() == []


def test_a_command_that_fails_behind_the_released_one_is_poisoned_itself(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.take(STOCK)
    world.poison(an_order("o1"))
    world.take(an_order("o2"), an_order("o3"))
    with monkeypatch.context() as patch:
        curse(patch, "o2")
        result = world.operator.release("sku:LAMP", NOTE)
    assert (result.counts, world.lines()) == ({"handled": 1}, ["o1"])
    assert world.parked() == [("poisoned", "o2"), ("queued", "o3")]
    failed = world.all_parked()[0]
    assert failed.error == "LookupError: o2 is cursed"
    assert world.installation.contents().inbox[failed.message.id].error == failed.error

    assert world.operator.release("sku:LAMP", NOTE).counts == {"handled": 2}
    assert world.lines() == ["o1", "o2", "o3"]


def test_a_poisoned_create_batch_passes_those_that_wait_for_it(world: World) -> None:
    world.take(an_order("o1"))
    world.poison(STOCK)
    world.take(an_order("o2"), commands.CreateBatch("b1", "LAMP", 100))
    assert [state for state, _ in world.parked()] == ["waiting", "poisoned", "queued", "queued"]
    assert world.operator.release("sku:LAMP", NOTE).counts == {"handled": 4}
    assert (world.parked(), world.lines()) == ([], ["o1", "o2"])


def test_a_released_create_batch_releases_what_waits_for_its_reference(world: World) -> None:
    world.take(commands.ChangeBatchQuantity("b1", 7))
    world.poison(STOCK)
    assert world.operator.release("sku:LAMP", NOTE).counts == {"handled": 2}
    assert world.installation.contents().batches["b1"].purchased == 7


def test_a_poisoned_command_that_is_only_ahead_of_its_batch_waits_from_now_on(world: World) -> None:
    world.poison(an_order("o1"))
    world.take(an_order("o2"))
    assert world.operator.release("sku:LAMP", NOTE).counts == {}
    assert world.parked() == [("waiting", "o1"), ("queued", "o2")]
    first = world.all_parked()[0]
    assert first.expires_at is not None
    assert world.installation.contents().inbox[first.message.id].error == "Invalid sku LAMP"
    assert world.audited() == ["jane parked.released: the bug is mended"]
    world.take(STOCK)
    assert (world.parked(), world.lines()) == ([], ["o1", "o2"])


def test_what_waits_for_its_batch_is_not_released_without_it(world: World) -> None:
    world.take(an_order("o1"), an_order("o2"))
    assert world.operator.release("sku:LAMP", NOTE).counts == {}
    assert world.operator.release("sku:CHAIR", NOTE).counts == {}
    assert world.parked() == [("waiting", "o1"), ("queued", "o2")]
    assert world.audited() == []


def test_a_discarded_command_is_a_dead_letter_and_what_stood_behind_it_goes_on(world: World) -> None:
    world.take(STOCK)
    world.poison(an_order("o1"))
    world.take(an_order("o2"))
    (result,) = world.operator.discard(world.all_parked()[:1], audit.Note("jane", "never meant to be sent"))
    assert (result.counts, world.lines()) == ({"handled": 1, "discarded": 1}, ["o2"])
    contents = world.installation.contents()
    (letter,) = [one for one in contents.outbox if one.topic == installations.NAMES.dead_letter]
    headers = dict(letter.headers)
    assert headers["dead_letter_reason"] == b"discarded"
    assert headers["dead_letter_error"] == b"never meant to be sent"
    assert headers["dead_letter_stack"] == b"abc123"
    assert sorted((entry.outcome, entry.reason) for entry in contents.inbox.values() if entry.reason) == [
        ("refused", "discarded")
    ]
    assert "discarded" in [entry[0] for row in world.rows(tables.journal) for entry in row.entries]
    assert [line.split(":")[0] for line in world.audited()] == ["jane parked.discarded", "jane parked.released"]


def test_discarding_what_stands_behind_a_poisoned_command_lets_nothing_pass_that(world: World) -> None:
    world.take(STOCK)
    world.poison(an_order("o1"))
    world.take(an_order("o2"), an_order("o3"))
    (result,) = world.operator.discard(world.all_parked()[1:2], NOTE)
    assert (result.counts, world.parked()) == ({"discarded": 1}, [("poisoned", "o1"), ("queued", "o3")])


def test_what_is_gone_already_is_not_discarded_again(world: World) -> None:
    world.take(STOCK)
    world.poison(an_order("o1"))
    seen = world.all_parked()
    world.operator.release("sku:LAMP", NOTE)
    (result,) = world.operator.discard(seen, NOTE)
    assert result.counts == {"discarded": 0}
    assert world.lines() == ["o1"]


def test_parked_commands_are_found_by_queue_state_and_id(world: World) -> None:
    world.take(an_order("o1"), an_order("o2"), builders.an_allocate(sku="CHAIR"))
    first = world.all_parked()[0].id
    assert first is not None

    def count(**wanted: Any) -> int:
        return len(world.operator.find(parked.Filter(**wanted)))

    assert (count(), count(ids=[first]), count(queues=["sku:LAMP"]), count(states=["waiting"])) == (3, 1, 2, 2)
    assert count(queues=["sku:LAMP"], states=["queued"]) == 1
    (oldest,) = world.operator.find(parked.Filter(), limit=1)
    assert (oldest.parked.id, oldest.age_s < 60) == (first, True)


def test_a_release_waits_for_the_worker_that_holds_the_sku(world: World) -> None:
    world.take(STOCK)
    world.poison(an_order("o1"))
    waits = sqlalchemy.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with futures.ThreadPoolExecutor(1) as pool, world.installation.begin() as worker:
        worker.claim([builders.a_message(an_order("o2"))])
        release = pool.submit(world.operator.release, "sku:LAMP", NOTE)

        def is_waiting() -> bool:
            with world.database.connect() as connection:
                return bool(connection.execute(waits).scalar_one())

        waiting.wait_until(is_waiting)
        assert not release.done()
        worker.commit()
        assert release.result(10).counts == {"handled": 1}


def test_a_batch_does_not_pass_the_poisoned_command_when_that_cannot_be_tried_yet(world: World) -> None:
    world.take(commands.ChangeBatchQuantity("b9", 1, "LAMP"))
    world.poison(commands.ChangeBatchQuantity("b1", 7))
    world.take(STOCK)
    world.take(commands.CreateBatch("b2", "LAMP", 9))
    assert world.operator.release("sku:LAMP", NOTE).counts == {}
    assert world.parked() == [("waiting", "b9"), ("poisoned", "b1"), ("queued", "b2")]
