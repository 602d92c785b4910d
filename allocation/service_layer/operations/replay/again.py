"""Handle a part of the log of `Allocate` anew: lines that found no room then may find some now.

Each command goes out again as the next attempt at it, through the outbox to its topic, as a redrive does; so
the complete log has it, and it takes its place among whatever else comes for its sku. What is allocated stays:
such a command is not sent. Sent twice all the same, it is one attempt, and known.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from allocation.domain import commands, model
from allocation.service_layer import messages, reading
from allocation.service_layer.operations import audit, conflicts, dead_letters

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from allocation.service_layer import unit_of_work
    from allocation.service_layer.operations.replay import pacing, ports

CHUNK = 1000  # commands that are locked and looked at together: done within a second
_ATTEMPTS = 8  # a conflict with the worker, which may be busy with the same skus

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A command that goes out again, as attempt `number`; `batchref` is the batch that has room for it now, or None."""

    message: messages.Message
    line: model.OrderLine
    number: int
    batchref: str | None = None

    @property
    def at(self) -> str:
        """Where the command lies."""
        record = self.message.record
        return f"{record.topic}/{record.partition}/{record.offset}"


@dataclass(slots=True)
class Tally:
    """How many commands are left as they are, by why; and which were sent."""

    left: Counter[str] = field(default_factory=Counter)
    sent: set[messages.MessageId] = field(default_factory=set)


class Again:
    """Works on one installation, also while workers run; every method blocks."""

    def __init__(
        self,
        *,
        logs: ports.Logs,
        begin: Callable[[], audit.OperatorUnitOfWork],
        reader: reading.MessageReader,
        pace: pacing.Pace,
    ) -> None:
        self._logs = logs
        self._pace = pace
        self._begin = begin
        self._reader = reader

    def run(
        self,
        starts: Mapping[ports.TopicPartition, int],
        ends: Mapping[ports.TopicPartition, int],
        note: audit.Note,
        *,
        tally: Tally,
        dry_run: bool,
        on_progress: ports.Progress,
    ) -> Iterator[Attempt]:
        """Yield what is sent again of these ranges, or would be with `dry_run`, with what would come of it now."""
        stock = _Stock()
        total = sum(ends[at] - start for at, start in starts.items())
        done = 0
        for chunk in _chunks(self._logs.between(starts, ends)):
            read = list(map(self._reader.read, chunk))
            attempts, left = self._attempt(read, note, stock, sent=tally.sent, dry_run=dry_run)
            tally.left.update(left)
            tally.sent.update(attempt.message.id for attempt in attempts)
            done += len(chunk)
            on_progress("commands", done, total)
            if attempts and not dry_run:
                self._pace.wait(on_progress, "commands", done, total)
            yield from (replace(one, batchref=stock.allocate(one.line)) for one in attempts)

    @conflicts.retried(attempts=_ATTEMPTS)
    def _attempt(
        self,
        chunk: Sequence[messages.Message],
        note: audit.Note,
        stock: _Stock,
        *,
        sent: Collection[messages.MessageId],
        dry_run: bool,
    ) -> tuple[list[Attempt], Counter[str]]:
        attempts: dict[messages.MessageId, Attempt] = {}
        left: Counter[str] = Counter()
        with self._begin() as uow:
            uow.claim(chunk, heads_suffice=True)
            for message in chunk:
                entry = uow.inbox_entry(message.id)
                product = _product(message, uow)
                reason = _reason_to_leave(message, entry, product)
                if reason is None and (message.id in sent or message.id in attempts):
                    reason = "there before, under the same id"
                if reason is None:
                    attempts[message.id] = _attempt(message, entry)
                    stock.learn(product)
                else:
                    left[reason] += 1
            if attempts and not dry_run:
                _send(attempts.values(), uow, note)
        return list(attempts.values()), left


class _Stock:
    """What is free of each sku, as the commands at hand would find it one after the other."""

    def __init__(self) -> None:
        self._products: dict[str, model.Product] = {}

    def learn(self, product: model.Product | None) -> None:
        """Take a product as it is now; what is known of it stays."""
        if product is not None and product.sku not in self._products:
            free = [model.Batch(one.reference, one.sku, one.available_quantity, one.eta) for one in product.batches]
            self._products[product.sku] = model.Product(product.sku, free)

    def allocate(self, line: model.OrderLine) -> str | None:
        """Return the batch that the line would get."""
        product = self._products.get(line.sku)
        return None if product is None else product.allocate(line)


def _product(message: messages.Message, uow: unit_of_work.UnitOfWork) -> model.Product | None:
    command = message.command
    return uow.products.get(command.sku) if isinstance(command, commands.Allocate) else None


def _reason_to_leave(
    message: messages.Message, entry: unit_of_work.InboxEntry | None, product: model.Product | None
) -> str | None:
    """Tell why a command is left as it is; None when it is to be handled anew: unallocated, or skipped."""
    if not isinstance(message.command, commands.Allocate):
        return "no command that can be read"
    if product is not None and any(_line(message.command) in batch for batch in product.batches):
        return "allocated"
    if entry is None:
        return None
    if entry.digest != message.digest:
        return "refused: its id is another command's"
    return _REASONS.get(entry.outcome)


_REASONS = {"refused": "refused: see `allocation dlq`", "waiting": "waits: see `allocation parked`"}


def _line(command: commands.Allocate) -> model.OrderLine:
    return model.OrderLine(command.orderid, command.sku, command.qty)


def _attempt(message: messages.Message, entry: unit_of_work.InboxEntry | None) -> Attempt:
    assert isinstance(message.command, commands.Allocate)  # noqa: S101 - for the type checker
    known = message.attempt if entry is None else max(entry.attempt, message.attempt)
    return Attempt(message, _line(message.command), known + 1)


def _send(attempts: Collection[Attempt], uow: audit.OperatorUnitOfWork, note: audit.Note) -> None:
    for attempt in attempts:
        record = attempt.message.record
        headers = dead_letters.as_attempt(record.headers, identity=attempt.message.id, attempt=attempt.number)
        uow.send(messages.OutboxMessage(record.topic, record.key, record.value, headers))
    uow.write_audit(
        audit.Entry("replay.again", f"{attempt.at} as attempt {attempt.number}", note) for attempt in attempts
    )
    uow.commit()


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk
