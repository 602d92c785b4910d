"""Make a history of what was found: put commands, their fates and their events in one order."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from allocation.domain import commands
from allocation.service_layer import messages
from allocation.service_layer.operations import history
from allocation.service_layer.operations.verify import events as published
from allocation.service_layer.operations.verify import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from allocation.service_layer.operations import dead_letters, history_sources

_EFFECTIVE = frozenset({"handled", "released"})
_FATES = {"poisoned": "failed", "expired": "refused", "discarded": "refused"}
_EVENTS = {"LineAllocated": "allocated", "LineDeallocated": "deallocated", "OutOfStock": "out of stock"}
_NEVER = 2**63  # behind all rows of a journal


class HistoryMaker:
    """Tells the history of one subject after the other."""

    def __init__(self, sources: history_sources.Sources, *, events: published.EventReader) -> None:
        self._sources = sources
        self._events = events

    def make(self, subject: history.Subject) -> history.History:
        """Return the history; raises `DependencyDown`."""
        skus = self._sources.skus(subject)
        if not skus:
            return history.History(subject=subject, everything=())
        found = self._sources.read(skus)
        events: dict[str, tuple[published.Event, datetime]] = {}  # by id: at_least_once may have repeated one
        notes = list(found.notes)
        for record in found.events:
            try:
                event, time = self._read(record)
                events.setdefault(event.id, (event, time))
            except (published.Unusable, ValueError) as error:
                notes.append(f"{record.topic}/{record.partition}/{record.offset} is no event of this service: {error}")
        return history.History(subject=subject, everything=_Steps(found, skus).all([*events.values()]), notes=notes)

    def _read(self, record: messages.Record) -> tuple[published.Event, datetime]:
        headers = dict(record.headers)
        place = f"{record.topic}/{record.partition}/{record.offset}"
        event = self._events.read(record.topic, record.key, record.value, headers, place=place)
        time = datetime.fromisoformat((headers.get(messages.CE_TIME) or b"").decode())
        return event, time if time.tzinfo else time.replace(tzinfo=UTC)


class _Steps:
    def __init__(self, found: history_sources.Found, skus: frozenset[str]) -> None:
        self._found = found
        self._skus = skus
        self._by_id: dict[str, list[messages.Message]] = defaultdict(list)
        for message in found.messages:
            self._by_id[message.id.id].append(message)
        self._batches = {
            message.command.ref: message.command.sku
            for message in found.messages
            if isinstance(message.command, commands.CreateBatch)
        }

    def all(self, events: Sequence[tuple[published.Event, datetime]]) -> list[history.Step]:
        caused = {event.cause for event, _ in events}
        steps = [self._of_event(event, time) for event, time in events]
        for message in self._found.messages:
            steps.extend(self._of_command(message, has_events=message.id.id in caused))
        return _told_where_to(sorted(steps, key=attrgetter("order")))

    def _of_event(self, event: published.Event, time: datetime) -> history.Step:
        message, order = self._cause_of(event, time)
        return history.Step(
            order=order._replace(sequence=event.sequence),
            what=_EVENTS[event.name],
            cause=history.Cause(event.cause) if message is None else _cause(message),
            sku=event.line.sku,
            line=event.line,
            batchref=event.batchref,
            place=event.place,
        )

    def _cause_of(self, event: published.Event, time: datetime) -> tuple[messages.Message | None, history.Order]:
        """Return the attempt at the command whose handling was nearest in time; the event's time is cut to 1 ms."""
        handled = [
            (abs(word.row.handled_at - time), self._order(message, word), message)
            for message in self._by_id.get(event.cause, ())
            for word in self._words(message)
            if word.what in _EFFECTIVE
        ]
        if not handled:
            known = self._by_id.get(event.cause, ())
            return (known[0] if known else None), history.Order(time, _NEVER, 0, 0, 0)
        _, order, message = min(handled, key=lambda one: one[:2])
        return message, order

    def _of_command(self, message: messages.Message, *, has_events: bool) -> Iterator[history.Step]:
        sku = self._sku(message)
        if sku not in self._skus:
            return
        words = self._words(message)
        if not words:
            at = datetime.fromtimestamp(message.record.timestamp_ms / 1000, UTC)
            order = history.Order(at, _NEVER, 0, message.record.offset, 0)
            yield self._step(message, "pending", order, sku)
        for word in words:
            what = self._what(message, word, has_events=has_events)
            if what is not None:
                yield self._step(message, what, self._order(message, word), sku)

    def _what(self, message: messages.Message, word: history_sources.Word, *, has_events: bool) -> str | None:
        """Return what to call it, None when its events tell."""
        if word.what not in _EFFECTIVE:
            return _FATES.get(word.what, word.what)
        if word.what == "released" and self._letter(message) is not None:
            return "refused"
        match message.command:
            case commands.CreateBatch():
                return "created"
            case commands.ChangeBatchQuantity():
                return "changed"
            case _:
                return None if has_events else "no change"

    def _step(self, message: messages.Message, what: str, order: history.Order, sku: str) -> history.Step:
        letter = self._letter(message) if what == "refused" else None
        about = _about(message.command)
        return history.Step(
            order=order,
            what=what,
            cause=_cause(message),
            sku=sku,
            line=about.line,
            batchref=about.batchref,
            qty=about.qty,
            eta=about.eta,
            place="" if letter is None else f"{letter.record.topic}/{letter.place}",
            detail="" if letter is None else f"{letter.reason}: {letter.error}",
        )

    def _sku(self, message: messages.Message) -> str:
        command = message.command
        if isinstance(command, messages.Unreadable):
            return (message.record.key or b"").decode(errors="backslashreplace")
        if isinstance(command, commands.ChangeBatchQuantity):
            return self._batches.get(command.ref) or command.sku or ""
        return command.sku

    def _words(self, message: messages.Message) -> Sequence[history_sources.Word]:
        return self._found.words.get(_place(message), ())

    def _letter(self, message: messages.Message) -> dead_letters.DeadLetter | None:
        letters = self._found.letters.get(_place(message), ())
        return letters[0] if letters else None

    def _order(self, message: messages.Message, word: history_sources.Word) -> history.Order:
        return history.Order(word.row.handled_at, word.row.number, word.entry, message.record.offset, 0)


class _About(NamedTuple):
    line: snapshot.Line | None = None
    batchref: str | None = None
    qty: int | None = None
    eta: date | None = None


def _about(command: commands.Command | messages.Unreadable) -> _About:
    match command:
        case commands.Allocate(orderid, sku, qty):
            return _About(line=snapshot.Line(orderid, sku, qty))
        case commands.CreateBatch(ref, _, qty, eta):
            return _About(batchref=ref, qty=qty, eta=eta)
        case commands.ChangeBatchQuantity(ref, qty, _):
            return _About(batchref=ref, qty=qty)
        case _:
            return _About()


def _told_where_to(steps: Sequence[history.Step]) -> list[history.Step]:
    """Return the steps, those that take a line off a batch with where it went."""
    told = list(steps)
    taken: dict[snapshot.Line, int] = {}
    for index, step in enumerate(steps):
        if step.line is None:
            continue
        if step.what == "deallocated":
            taken[step.line] = index
        elif step.what in {"allocated", "out of stock"} and step.line in taken:
            before = taken.pop(step.line)
            detail = f"to {step.batchref}" if step.batchref else "no other batch has room"
            told[before] = dataclasses.replace(steps[before], detail=detail)
    return told


def _place(message: messages.Message) -> history_sources.Place:
    return (message.record.topic, message.record.partition, message.record.offset)


def _cause(message: messages.Message) -> history.Cause:
    record = message.record
    return history.Cause(
        id=message.id.id,
        source=message.id.source,
        text=_text(message.command),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        sent_at=datetime.fromtimestamp(record.timestamp_ms / 1000, UTC),
    )


def _text(command: commands.Command | messages.Unreadable) -> str:
    return command.error if isinstance(command, messages.Unreadable) else str(command)
