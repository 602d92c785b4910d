"""Whatever came in which order, and whatever timers, failures and operators decided: a rebuild gives the same rows."""

from __future__ import annotations

import datetime
import functools
from typing import TYPE_CHECKING, NamedTuple

import hypothesis
import structlog
from hypothesis import strategies as st

from allocation.domain import commands
from allocation.service_layer import envelopes, failure_policy, handlers, messages, reading, settling
from allocation.service_layer.operations.replay import journal_order, rebuilding, rebuilding_batch
from allocation.service_layer.operations.replay import rebuilding_ports as ports
from tests import builders, installations
from tests.fakes import rebuilding as fake_rebuilding
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from allocation.service_layer import unit_of_work

_NAMES = ("A", "B")
_REFS = ("r1", "r2", "r3")
_CURSED = 7  # whoever asks for so many meets a bug


class World:
    """A live installation that notes in its journal what it does, and the logs that it reads."""

    def __init__(self) -> None:
        self.database = fakes.FakeDatabase()
        self.records: list[messages.Record] = []
        self.times: list[datetime.datetime] = []
        self._values = serde.FakeSerde()
        self._processor = installations.a_processor(self.database.begin, values=self._values)
        self._policy = failure_policy.FailurePolicy(self._processor, max_retries=0)

    def take(self, given: Sequence[tuple[commands.Command | None, int]]) -> None:
        """Have commands (None: bytes that are none) arrive, each with a number that its id is made of, as one batch."""
        arrived = [self._record(command, number) for command, number in given]
        self.records += arrived
        self._policy.process(arrived)
        self._note()

    def let_time_pass(self, seconds: int) -> None:
        """Let the grace of some be over."""
        self.database.now += datetime.timedelta(seconds=seconds)
        room = fakes.FakeWaitingRoom(self.database)
        overdue = room.overdue(self.database.now, limit=10)
        if overdue:
            expire = functools.partial(self._processor.expire, overdue, expired_at=self.database.now)
            self._policy.passage()(expire)
        while queues := room.to_release(limit=10):
            release = functools.partial(self._processor.release, queues, room.creations(queues))
            self._policy.passage()(release)
        self._note()

    def discard_poisoned(self) -> None:
        """Have an operator give up what fails."""
        poisoned = [one for one in self.database.state.parked if one.state == "poisoned"]
        with self.database.begin() as uow:
            uow.claim([one.message for one in poisoned])
            batch = settling.MicroBatch(
                uow,
                envelopes=envelopes.Envelopes(topics=installations.NAMES, serializer=self._values),
                grace=datetime.timedelta(seconds=installations.GRACE_S),
            )
            there = {one.id: one for one in uow.parked({one.queue for one in poisoned})}
            for one in poisoned:
                batch.discard(there[one.id], why="no use")
            batch.finish()
            uow.commit()
        self._note()

    def rows(self) -> list[journal_order.Row]:
        return [
            journal_order.Row(number, at, "1", entries)
            for number, (at, entries) in enumerate(zip(self.times, self.database.state.journal, strict=True), start=1)
        ]

    def rebuilt(self, parts: Iterable[Sequence[journal_order.Row]]) -> fakes.FakeDatabase:
        """Rebuild, in as many runs as there are parts."""
        target = fake_rebuilding.FakeTarget(fakes.FakeDatabase())
        for rows in parts:
            rebuilding.Rebuild(
                target=target,
                logs=fake_rebuilding.FakeLogs(self.records),
                reader=reading.MessageReader(topics=installations.NAMES, deserializer=self._values),
                envelopes=envelopes.Envelopes(topics=installations.NAMES, serializer=self._values),
                outbound=ports.Suppressed(),
                grace_s=installations.GRACE_S,
            ).by_journal(rows, on_progress=lambda _what, _done, _total: None)
        return target.database

    def _note(self) -> None:
        self.times += [self.database.now] * (len(self.database.state.journal) - len(self.times))

    def _record(self, command: commands.Command | None, number: int) -> messages.Record:
        topic, value = installations.NAMES.allocate, b"no command"
        if command is not None:
            name = type(command).__name__
            topic = installations.NAMES.commands[name]
            value = self._values.serialize(name, envelopes.command_fields(command))
        headers = ((messages.CE_ID, b"%d" % number), (messages.CE_SOURCE, b"test"))
        return builders.a_record(value, topic=topic, headers=headers)


class Kept(NamedTuple):
    """What has to be the same."""

    contents: object
    batches: object
    events: object


def _kept(database: fakes.FakeDatabase) -> Kept:
    state = database.state
    products = {sku: (one.version_number, state.sequences.get(sku, 0)) for sku, one in state.products.items()}
    batches = {
        one.reference: (one.sku, one.purchased_quantity, one.allocated_quantity, one.eta, one.lines)
        for product in state.products.values()
        for one in product.batches
    }
    events = [one for one in state.outbox if one.topic in installations.NAMES.events.values()]
    parked = {rebuilding_batch.place_of(one.message.record) for one in state.parked}
    inbox = {id_: (entry.outcome, entry.result, entry.attempt) for id_, entry in state.inbox.items()}
    return Kept((products, dict(state.positions), parked, inbox), batches, events)


def _cursed(command: commands.Allocate, uow: unit_of_work.UnitOfWork) -> str | None:
    result = handlers.allocate(command, uow)
    if command.qty == _CURSED:
        msg = "a bug"
        raise LookupError(msg)
    return result


_commands = st.one_of(
    st.none(),
    st.builds(commands.CreateBatch, st.sampled_from(_REFS), st.sampled_from(_NAMES), st.sampled_from([3, 20])),
    st.builds(commands.Allocate, st.sampled_from("xyz"), st.sampled_from(_NAMES), st.sampled_from([1, 2, _CURSED])),
    st.builds(
        commands.ChangeBatchQuantity, st.sampled_from(_REFS), st.sampled_from([0, 2, 20]), st.sampled_from([None, "A"])
    ),
)
_batches = st.lists(st.tuples(_commands, st.integers(0, 30)), min_size=1, max_size=6)
_actions: st.SearchStrategy[Callable[[World], None]] = st.one_of(
    _batches.map(lambda given: lambda world: world.take(given)),
    st.sampled_from([10, 100]).map(lambda seconds: lambda world: world.let_time_pass(seconds)),
    st.just(World.discard_poisoned),
)


@hypothesis.given(st.lists(_actions, max_size=12), st.integers(0, 12))
def test_a_rebuild_gives_the_same_rows_and_events_at_once_or_in_two_runs(
    actions: list[Callable[[World], None]], cut: int
) -> None:
    world = World()
    table = handlers.COMMAND_HANDLERS
    assert isinstance(table, dict)
    table[commands.Allocate] = _cursed
    try:
        with structlog.testing.capture_logs():  # to print a traceback takes longer than all the rest
            for action in actions:
                action(world)
    finally:
        table[commands.Allocate] = handlers.allocate
    rows = world.rows()
    expected = _kept(world.database)
    assert _kept(world.rebuilt([rows])) == expected
    assert _kept(world.rebuilt([rows[:cut], rows[cut:]])) == expected
