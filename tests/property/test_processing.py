"""However the commands are cut into micro-batches, PostgreSQL holds what the plain model, one by one, comes to."""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis import strategies as st

from allocation.adapters.postgres import schema, waiting_room
from allocation.domain import commands
from allocation.service_layer import envelopes, failures, grace, messages, unit_of_work
from tests import builders, databases, installations
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from allocation import devstack
    from allocation.service_layer import processing

NEVER = datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC)

skus = st.sampled_from(("LAMP", "TABLE", "VASE"))
refs = st.sampled_from(("b1", "b2", "b3", "b4"))
orders = st.sampled_from(("o1", "o2", "o3", "o4", "o5", "o6"))
etas = st.sampled_from((None, builders.TODAY, builders.TOMORROW))
any_command = st.one_of(
    st.builds(commands.CreateBatch, refs, skus, st.sampled_from((4, 12)), etas),
    st.builds(commands.Allocate, orders, skus, st.integers(1, 4)),
    st.builds(commands.Allocate, orders, skus, st.integers(1, 4)),
    st.builds(commands.ChangeBatchQuantity, refs, st.integers(0, 14), st.one_of(st.none(), skus)),
)

# Few products, few batches: the most lines, and the most ways in which they move.
busy_command = st.one_of(
    st.builds(commands.CreateBatch, st.sampled_from(("b1", "b2")), st.just("LAMP"), st.just(12), st.none()),
    st.builds(commands.Allocate, orders, st.just("LAMP"), st.integers(1, 4)),
    st.builds(commands.Allocate, orders, st.just("LAMP"), st.integers(1, 4)),
    st.builds(commands.ChangeBatchQuantity, st.sampled_from(("b1", "b2")), st.integers(0, 14), st.none()),
)


@dataclass(frozen=True)
class Sent:
    """A command on its topic; `id` None: without headers."""

    command: commands.Command
    id: str | None = None
    attempt: int = 1
    waits: bool = True


@dataclass(frozen=True)
class Cut:
    """The end of a micro-batch; `expire` ends the grace of all that waits, `poison` sets the next command aside."""

    expire: bool = False
    poison: bool = False


Step = Sent | Cut


# Each batch of one sku: between skus there is no order, and so no telling which of two that claim a reference is first.
# Two of a sku at most: with a third, a change without a sku may have been tried before its batch was let through, and
# then says, until its turn, what it waited for, instead of that it is queued. Nothing else comes of it.
SKU_OF = {"b1": "LAMP", "b2": "LAMP", "b3": "TABLE"}
orderly_command = st.one_of(
    st.builds(lambda ref, eta: commands.CreateBatch(ref, SKU_OF[ref], 12, eta), st.sampled_from(sorted(SKU_OF)), etas),
    st.builds(commands.Allocate, orders, st.sampled_from(("LAMP", "TABLE")), st.integers(1, 4)),
    st.builds(commands.Allocate, orders, st.just("LAMP"), st.integers(1, 4)),
    st.builds(
        lambda ref, qty, knows: commands.ChangeBatchQuantity(ref, qty, SKU_OF[ref] if knows else None),
        st.sampled_from(sorted(SKU_OF)),
        st.integers(0, 14),
        st.booleans(),
    ),
)


def orderly(command: st.SearchStrategy[commands.Command]) -> st.SearchStrategy[list[Step]]:
    cut = st.builds(Cut, st.booleans(), st.integers(0, 9).map(lambda number: number == 0))
    sent = st.builds(Sent, command)
    return st.lists(st.one_of(sent, sent, sent, sent, sent, cut), max_size=60)


def some(command: st.SearchStrategy[commands.Command]) -> st.SearchStrategy[list[Step]]:
    plain = st.builds(Sent, command)
    named = st.builds(Sent, command, st.sampled_from(("m1", "m2", "m3")), st.integers(1, 2), st.booleans())
    cut = st.builds(Cut, st.booleans(), st.integers(0, 9).map(lambda number: number == 0))
    return st.lists(st.one_of(plain, plain, plain, plain, named, cut), max_size=60)


class Run:
    """Has the same steps processed, in one way or another."""

    def __init__(self, processor: processing.Processor, room: grace.WaitingRoom) -> None:
        self._processor = processor
        self._room = room
        self._offsets: dict[str, int] = {}
        self._values = serde.FakeSerde()

    def one_by_one(self, steps: Sequence[Step]) -> None:
        self._go(steps, at_most=1)

    def in_micro_batches(self, steps: Sequence[Step]) -> None:
        self._go(steps, at_most=1000)

    def _go(self, steps: Sequence[Step], *, at_most: int) -> None:
        batch: list[messages.Record] = []
        poison = False
        for step in (*steps, Cut()):
            if isinstance(step, Sent):
                record = self._record(step)
                if poison:
                    self._processor.set_aside(record, failure=failures.Failure("a bug"))
                    poison = False
                    continue
                batch.append(record)
            if batch and (isinstance(step, Cut) or len(batch) >= at_most):
                self._processor.process(batch)
                batch = []
            if isinstance(step, Cut):
                poison = step.poison
                self._release()
                if step.expire:
                    self._expire()

    def _release(self) -> None:
        while queues := self._room.to_release(limit=100):
            self._processor.release(queues, self._room.creations(queues))

    def _expire(self) -> None:
        while overdue := self._room.overdue(NEVER, limit=100):
            self._processor.expire(overdue, expired_at=NEVER)
            self._release()

    def _record(self, sent: Sent) -> messages.Record:
        name = type(sent.command).__name__
        topic = installations.NAMES.commands[name]
        self._offsets[topic] = offset = self._offsets.get(topic, -1) + 1
        headers = [] if sent.id is None else [(messages.CE_ID, sent.id.encode()), (messages.CE_SOURCE, b"test")]
        headers.append((messages.ATTEMPT, b"%d" % sent.attempt))
        if not sent.waits:
            headers.append((messages.NO_GRACE, b"1"))
        return builders.a_record(
            self._values.serialize(name, envelopes.command_fields(sent.command)),
            topic=topic,
            offset=offset,
            headers=tuple(headers),
        )


@pytest.fixture(scope="module")
def postgres(endpoints: devstack.Endpoints) -> Iterator[tuple[installations.PostgresInstallation, grace.WaitingRoom]]:
    with databases.fresh(endpoints) as database:
        schema.migrate(database)
        yield installations.PostgresInstallation(database), waiting_room.PostgresWaitingRoom(database)


def expected(steps: Sequence[Step]) -> installations.Contents:
    oracle = installations.FakeInstallation()
    room = fakes.FakeWaitingRoom(oracle.database)
    Run(installations.a_processor(oracle.begin), room).one_by_one(steps)
    return oracle.contents()


def check(steps: Sequence[Step], postgres: tuple[installations.PostgresInstallation, grace.WaitingRoom]) -> None:
    installation, room = postgres
    installation.empty()
    Run(installations.a_processor(installation.begin), room).in_micro_batches(steps)
    assert installation.contents() == expected(steps)


PARKED_IN_TWO_QUEUES = [
    Sent(commands.ChangeBatchQuantity("b1", 1)),
    Sent(commands.Allocate("o1", "LAMP", 2)),
    Sent(commands.ChangeBatchQuantity("b1", 3, "LAMP")),
    Sent(commands.CreateBatch("b1", "LAMP", 4)),
]


@hypothesis.given(steps=some(any_command))
@hypothesis.example(steps=PARKED_IN_TWO_QUEUES)
def test_micro_batches_come_to_the_same_as_commands_one_by_one(
    postgres: tuple[installations.PostgresInstallation, grace.WaitingRoom], steps: list[Step]
) -> None:
    check(steps, postgres)


@hypothesis.given(steps=some(busy_command))
def test_lines_that_move_to_and_fro_keep_their_places(
    postgres: tuple[installations.PostgresInstallation, grace.WaitingRoom], steps: list[Step]
) -> None:
    check([Sent(commands.CreateBatch("b1", "LAMP", 12)), *steps], postgres)


def by_order(contents: installations.Contents) -> installations.Contents:
    """Forget in which order messages of different skus were sent: a long release lets those of others pass."""
    events = [one for one in contents.outbox if one.topic != installations.NAMES.dead_letter]
    letters = [one for one in contents.outbox if one.topic == installations.NAMES.dead_letter]
    return dataclasses.replace(
        contents, outbox=[*sorted(events, key=lambda one: one.sku or ""), *sorted(letters, key=repr)]
    )


LONG_QUEUE_AND_A_BETTER_BATCH = [
    *(Sent(commands.Allocate(f"o{number}", "LAMP", 4)) for number in range(1, 6)),
    Cut(),
    Sent(commands.CreateBatch("b1", "LAMP", 12, builders.TOMORROW)),
    Sent(commands.CreateBatch("b2", "LAMP", 12, None)),
    Sent(commands.Allocate("o6", "LAMP", 4)),
]


COMES_DURING_A_RELEASE_AND_WAITS_ITSELF = [
    *(Sent(commands.Allocate(f"o{number}", "LAMP", 1)) for number in (1, 2)),
    Cut(),
    Sent(commands.CreateBatch("b1", "LAMP", 12)),
    Sent(commands.ChangeBatchQuantity("b2", 0, "LAMP")),
]


@hypothesis.given(steps=orderly(orderly_command), chunk=st.integers(1, 3))
@hypothesis.example(steps=LONG_QUEUE_AND_A_BETTER_BATCH, chunk=1)
@hypothesis.example(steps=COMES_DURING_A_RELEASE_AND_WAITS_ITSELF, chunk=1)
def test_what_is_released_in_chunks_comes_to_the_same_as_all_at_once(
    postgres: tuple[installations.PostgresInstallation, grace.WaitingRoom], steps: list[Step], chunk: int
) -> None:
    installation, room = postgres
    installation.empty()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unit_of_work, "QUEUE_CHUNK", chunk)
        Run(installations.a_processor(installation.begin), room).in_micro_batches(steps)
    assert by_order(installation.contents()) == by_order(expected(steps))
