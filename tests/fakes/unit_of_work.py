"""A database in memory and its units of work; they pass the contract suite of the real ones.

The fake is stricter than PostgreSQL: what was not claimed may not be read.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

from allocation.domain import commands
from allocation.service_layer import messages, ports, unit_of_work
from tests import builders

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from allocation.domain import events, model
    from allocation.service_layer import external_events


@dataclass
class State:
    """All that is committed."""

    products: dict[str, model.Product] = field(default_factory=dict)
    sequences: dict[str, int] = field(default_factory=dict)
    inbox: dict[messages.MessageId, unit_of_work.InboxEntry] = field(default_factory=dict)
    parked: list[unit_of_work.ParkedCommand] = field(default_factory=list)
    releases: set[str] = field(default_factory=set)
    positions: dict[messages.LogPartition, unit_of_work.Position] = field(default_factory=dict)
    journal: list[tuple[unit_of_work.JournalEntry, ...]] = field(default_factory=list)
    outbox: list[messages.OutboxMessage] = field(default_factory=list)
    last_parked_id: int = 0


class FakeDatabase:
    """Holds the state; `now` is its clock, `failures` are raised by the next commits, one each."""

    def __init__(self) -> None:
        self.state = State()
        self.now: datetime = builders.NOW
        self.commits = 0
        self.failures: list[Exception] = []

    def begin(self) -> FakeUnitOfWork:
        return FakeUnitOfWork(self)


class _Move(NamedTuple):
    log: messages.LogPartition
    expected: unit_of_work.Position | None
    new: unit_of_work.Position


class FakeProducts:
    """Whole products; `claimed` names those that may be read."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._touched: dict[str, model.Product] = {}
        self.claimed: set[str] = set()
        self.claimed_refs: set[str] = set()

    def skus_of(self, batchref: str) -> set[str]:
        found = (sku for sku, product in self._state.products.items() if _has(product, batchref))
        return set(found)

    def get(self, sku: str) -> model.Product | None:
        assert sku in self.claimed, f"{sku} was not claimed"
        product = self._state.products.get(sku)
        if product is not None:
            self._touched[sku] = product
        return product

    def get_by_batchref(self, batchref: str) -> model.Product | None:
        assert batchref in self.claimed_refs, f"{batchref} was not claimed"
        return next((self.get(sku) for sku in self.skus_of(batchref)), None)

    def add(self, product: model.Product) -> None:
        self._state.products[product.sku] = self._touched[product.sku] = product

    def collect_new_events(self) -> Iterator[events.Event | commands.Command]:
        touched, self._touched = self._touched, {}
        for product in touched.values():
            pending, product.events = product.events, []
            yield from pending


class FakeUnitOfWork:
    """Works on a copy, which takes the place of the state at commit."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database
        self._announced: list[external_events.ExternalEvent] = []
        self._moves: list[_Move] = []
        self.now = database.now

    def __enter__(self) -> Self:
        self._state = copy.deepcopy(self._database.state)
        self._versions = {sku: product.version_number for sku, product in self._state.products.items()}
        self._before = len(self._state.outbox)
        self._queues: set[str] = set()
        self._left_out: set[int] = set()  # ids of what is claimed and not loaded
        self.products = FakeProducts(self._state)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        del self._state

    def positions(
        self, logs: Collection[messages.LogPartition]
    ) -> Mapping[messages.LogPartition, unit_of_work.Position]:
        return {log: self._state.positions[log] for log in logs if log in self._state.positions}

    def claim(
        self,
        claimed: Sequence[messages.Message],
        *,
        heads_suffice: bool = False,
        oldest_of: Collection[str] = (),
        ids: Collection[int] = (),
        at_most: int | None = None,
    ) -> None:
        named = [message.command for message in claimed if not isinstance(message.command, messages.Unreadable)]
        refs = {command.ref for command in named if not isinstance(command, commands.Allocate)}
        skus = {command.sku for command in named if command.sku is not None}
        skus.update(sku for ref in refs for sku in self.products.skus_of(ref))
        self._queues = {unit_of_work.ref_queue(ref) for ref in refs} | {unit_of_work.sku_queue(sku) for sku in skus}
        self._queues.update(parked.queue for parked in self._state.parked if _batchref(parked) in refs)
        if oldest_of:
            self._queues.update(oldest_of)
            skus.update(queue.removeprefix("sku:") for queue in oldest_of)
            self._leave_out(_oldest_of_each(self.parked(self._queues), oldest_of, ids, at_most))
        elif heads_suffice:
            self._leave_out(self.parked(self._queues)[: unit_of_work.QUEUE_CHUNK])
        for parked in self.parked(self._queues):
            command = parked.message.command
            assert not isinstance(command, messages.Unreadable)
            skus.update(() if command.sku is None else (command.sku,))
            if not isinstance(command, commands.Allocate):
                refs.add(command.ref)
                skus.update(self.products.skus_of(command.ref))
        self.products.claimed, self.products.claimed_refs = skus, refs

    def inbox_entry(self, id: messages.MessageId) -> unit_of_work.InboxEntry | None:  # noqa: A002 - CloudEvents' word
        return self._state.inbox.get(id)

    def record(self, entry: unit_of_work.InboxEntry) -> None:
        self._state.inbox[entry.id] = entry

    def parked(self, queues: Collection[str]) -> Sequence[unit_of_work.ParkedCommand]:
        return [parked for parked in self._of(queues) if parked.id not in self._left_out]

    def is_occupied(self, queue: str) -> bool:
        return bool(self._of({queue}))

    def has_more(self, queue: str) -> bool:
        return any(parked.id in self._left_out for parked in self._of({queue}))

    def bars_batches(self, queue: str) -> bool:
        return queue in self._state.releases or any(parked.state == "poisoned" for parked in self._of({queue}))

    def release_later(self, queues: Collection[str]) -> None:
        self._state.releases.update(queues)

    def release_ended(self, queues: Collection[str]) -> None:
        self._state.releases.difference_update(queues)

    def move_queue(self, queue: str, *, to: str) -> None:
        for place, parked in enumerate(self._state.parked):
            if parked.queue == queue:
                self._state.parked[place] = dataclasses.replace(parked, queue=to)

    def repark(self, parked: unit_of_work.ParkedCommand) -> None:
        self._state.parked[self._place(parked)] = parked

    def queues_naming(self, batchref: str) -> Collection[str]:
        return {parked.queue for parked in self.parked(self._queues) if _batchref(parked) == batchref}

    def park(self, parked: unit_of_work.ParkedCommand) -> None:
        self._state.parked.append(parked)

    def unpark(self, parked: unit_of_work.ParkedCommand) -> None:
        del self._state.parked[self._place(parked)]

    def announce(self, event: external_events.ExternalEvent) -> None:
        self._announced.append(event)

    def take_announced(self) -> Sequence[external_events.ExternalEvent]:
        announced, self._announced = self._announced, []
        return announced

    def collect_new_events(self) -> Iterator[events.Event | commands.Command]:
        return self.products.collect_new_events()

    def next_sequence(self, sku: str) -> int:
        self._state.sequences[sku] = number = self._state.sequences.get(sku, 0) + 1
        return number

    def send(self, outgoing: messages.OutboxMessage) -> None:
        self._state.outbox.append(outgoing)

    def journal(self, entries: Iterable[unit_of_work.JournalEntry], *, oldest_ms: int | None = None) -> None:
        self._state.journal.append(tuple(entries))
        number = str(len(self._state.journal)).encode()
        headers = () if oldest_ms is None else ((messages.COMMANDS_SINCE, str(oldest_ms).encode()),)
        self._state.outbox.insert(self._before, messages.OutboxMessage("allocation.journal", number, b"{}", headers))

    def advance(
        self, log: messages.LogPartition, *, expected: unit_of_work.Position | None, new: unit_of_work.Position
    ) -> None:
        self._moves.append(_Move(log, expected, new))

    def commit(self) -> None:
        if self._database.failures:
            raise self._database.failures.pop(0)
        self._check_versions()
        for log, expected, new in self._moves:
            now = self._database.state.positions.get(log)
            if (now and now.next_offset) != (expected and expected.next_offset):
                raise ports.Retryable(f"the position of {log} was moved")
            self._state.positions[log] = new
        self._number_parked()
        self._database.state = self._state
        self._state = copy.deepcopy(self._state)
        self._database.commits += 1

    def _of(self, queues: Collection[str]) -> list[unit_of_work.ParkedCommand]:
        return [parked for parked in self._state.parked if parked.queue in queues and parked.queue in self._queues]

    def _place(self, parked: unit_of_work.ParkedCommand) -> int:
        """Return where a command stands, whichever queue it was in when it was read."""
        record = parked.message.record
        [place] = [place for place, one in enumerate(self._state.parked) if one.message.record == record]
        return place

    def _leave_out(self, loaded: Collection[unit_of_work.ParkedCommand]) -> None:
        kept = {parked.id for parked in loaded}
        self._left_out = {parked.id for parked in self._of(self._queues) if parked.id not in kept and parked.id}

    def _check_versions(self) -> None:
        for sku, product in self._database.state.products.items():
            if product.version_number != self._versions.get(sku, 0):
                raise ports.Retryable(f"{sku} was changed")

    def _number_parked(self) -> None:
        for place, parked in enumerate(self._state.parked):
            if parked.id is None:
                self._state.last_parked_id += 1
                self._state.parked[place] = dataclasses.replace(parked, id=self._state.last_parked_id)


class FakeWaitingRoom:
    """Passes as `grace.WaitingRoom`."""

    def __init__(self, database: FakeDatabase) -> None:
        self._database = database

    def now(self) -> datetime:
        return self._database.now

    def overdue(self, at: datetime, *, limit: int) -> Sequence[unit_of_work.ParkedCommand]:
        heads = {parked.queue: parked for parked in reversed(self._database.state.parked)}.values()
        ended = [parked for parked in heads if parked.expires_at is not None and parked.expires_at <= at]
        return sorted(ended, key=lambda parked: parked.id or 0)[:limit]

    def to_release(self, *, limit: int) -> Sequence[str]:
        return sorted(self._database.state.releases)[:limit]

    def creations(self, queues: Collection[str]) -> Sequence[unit_of_work.ParkedCommand]:
        found = (_landmark(self._database.state.parked, queue) for queue in queues)
        return [parked for parked in found if parked is not None and parked.state != "poisoned"]

    def next_offsets(self) -> Mapping[messages.LogPartition, int]:
        return {log: position.next_offset for log, position in self._database.state.positions.items()}


def _has(product: model.Product, batchref: str) -> bool:
    return any(batch.reference == batchref for batch in product.batches)


def _batchref(parked: unit_of_work.ParkedCommand) -> str | None:
    command = parked.message.command
    return command.ref if isinstance(command, commands.ChangeBatchQuantity) else None


def _landmark(parked: Iterable[unit_of_work.ParkedCommand], queue: str) -> unit_of_work.ParkedCommand | None:
    of_queue = (one for one in parked if one.queue == queue)
    return next((one for one in of_queue if one.state == "poisoned" or _creates(one)), None)


def _creates(parked: unit_of_work.ParkedCommand) -> bool:
    return isinstance(parked.message.command, commands.CreateBatch)


def _oldest_of_each(
    parked: Sequence[unit_of_work.ParkedCommand], queues: Collection[str], ids: Collection[int], at_most: int | None
) -> list[unit_of_work.ParkedCommand]:
    found = []
    for queue in queues:
        of_queue = [one for one in parked if one.queue == queue]
        landmark = _landmark(of_queue, queue)
        share = unit_of_work.share_of_each(queues, at_most=at_most)
        found += [one for place, one in enumerate(of_queue) if place < share or one is landmark or one.id in ids]
    return found
