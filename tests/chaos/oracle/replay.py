"""The commands handled once more, in the order that the journal gives, by the second implementation."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tests.chaos.oracle import avro, model
from tests.chaos.oracle import log as logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.oracle.observation import Entry, Identity, Observation

# Words of the journal after which a command has had its effect, or was refused for what it says.
_TRIED = frozenset({"handled", "released"})
_REFUSED = frozenset({"refused", "expired"})
# Reasons that depend on what the stock was at that moment.
_OF_THE_STOCK = frozenset({"invalid_sku", "unknown_batch", "conflict"})

Caused = tuple[model.Happened, bytes]


def sequence(event: logs.Record) -> int:
    """Return an event's place among those of its sku."""
    return int(event.header("ce_sequence") or b"0")


def published(seen: Observation) -> Iterator[model.Happened]:
    """Yield what the events say, those of each sku in their order."""
    for event in sorted(seen.events, key=sequence):
        yield happened(event, seen)


def happened(event: logs.Record, seen: Observation) -> model.Happened:
    """Return what an event says."""
    fields = avro.read(event.topic, event.value, seen.schema_ids[event.topic])
    assert fields is not None, event
    line = model.Line(fields["orderid"], fields["sku"], fields["qty"])
    return model.Happened(event.topic, line, fields.get("batchref"))


def differences(seen: Observation) -> Iterator[str]:
    """Yield where the installation is not as the second implementation says."""
    again = _Again(seen)
    for entry in seen.journal:
        yield from again.follow(entry)
    yield from again.compare()


class _Again:
    def __init__(self, seen: Observation) -> None:
        self._seen = seen
        self._stock = model.Stock()
        self._events: dict[str, list[Caused]] = defaultdict(list)

    def follow(self, entry: Entry) -> Iterator[str]:
        for offset in range(entry.first, entry.last + 1):
            record = self._seen.commands.get((entry.topic, entry.partition, offset))
            if record is None:
                continue
            if entry.what in _TRIED:
                yield from self._try(record)
            elif entry.what in _REFUSED:
                yield from self._doubt(record)

    def compare(self) -> Iterator[str]:
        yield from _compare_maps("batch", self._stock_rows(), self._stored_rows())
        versions = {sku: version for sku, (version, _) in self._seen.products.items()}
        yield from _compare_maps("version of", self._stock.versions, versions)
        sequences = {sku: sequence for sku, (_, sequence) in self._seen.products.items()}
        yield from _compare_maps("events of", {sku: len(self._events.get(sku, ())) for sku in sequences}, sequences)
        yield from _compare_maps("the story of", self._events, self._published())

    def _try(self, record: logs.Record) -> Iterator[str]:
        identity = self._seen.identity(record)
        fate, fields = self._seen.fates.get(identity), self._seen.read(record)
        if fate is None or fields is None:
            yield f"{record.at} was handled, and {'holds no command' if fields is None else 'nobody knows it'}"
            return
        try:
            events = self._stock.handle(record.topic, fields)
        except model.No as no:
            if fate.outcome != "refused":
                yield f"{record.at} was {fate.outcome}, although {no}"
            return
        self._note(identity, events)
        if record.topic == "allocate" and fate.result != self._batch_of(model.Line(**fields), events):
            yield f"{record.at} is said to be in {fate.result}"

    def _note(self, identity: Identity, events: list[model.Happened]) -> None:
        for event in events:
            self._events[event.line.sku].append((event, identity[1].encode()))

    def _doubt(self, record: logs.Record) -> Iterator[str]:
        """Say so if a command was refused for the state of a stock that would have taken it."""
        fate, fields = self._seen.fates.get(self._seen.identity(record)), self._seen.read(record)
        if fate is None or fields is None or fate.at != record.at or fate.reason not in _OF_THE_STOCK:
            return
        try:
            events = self._stock.handle(record.topic, fields)
        except model.No:
            return
        yield f"{record.at} was refused ({fate.reason}), although it could be handled: {events}"

    def _batch_of(self, line: model.Line, events: list[model.Happened]) -> str | None:
        if events:
            return events[0].batchref
        return next((batch.ref for batch in self._stock.batches.values() if line in batch.lines), None)

    def _stock_rows(self) -> dict[str, Any]:
        return {
            ref: (batch.sku, batch.created, batch.purchased, batch.eta, batch.lines)
            for ref, batch in self._stock.batches.items()
        }

    def _stored_rows(self) -> dict[str, Any]:
        lines: dict[str, list[tuple[int, model.Line]]] = defaultdict(list)
        for line, (batchref, place) in self._seen.lines.items():
            lines[batchref].append((place, line))
        return {
            ref: (row.sku, row.created, row.purchased, row.eta, [line for _, line in sorted(lines[ref])])
            for ref, row in self._seen.batches.items()
        }

    def _published(self) -> dict[str, list[Caused]]:
        stories: dict[str, list[Caused]] = defaultdict(list)
        for event in sorted(self._seen.events, key=sequence):
            said = happened(event, self._seen)
            stories[said.line.sku].append((said, event.header("ce_causationid") or b""))
        return stories


def _compare_maps(what: str, expected: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys()):
        one, other = expected.get(name), found.get(name)
        if one != other:
            yield f"{what} {name}: {_excerpt(one, other)}"


def _excerpt(expected: Any, found: Any) -> str:
    """Show where two differ."""
    if isinstance(expected, list) and isinstance(found, list):
        pairs = zip(expected, found, strict=False)
        at = next((n for n, (one, other) in enumerate(pairs) if one != other), min(len(expected), len(found)))
        return (
            f"number {at + 1} of {len(expected)} is {expected[at : at + 1]}, not {found[at : at + 1]} of {len(found)}"
        )
    return f"expected {str(expected)[:300]}, found {str(found)[:300]}"
