"""Replay the events and compare what comes of them with the order lines, and these with their batches."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from allocation.service_layer.operations.verify.findings import Check, Findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from allocation.service_layer.operations.verify import events, snapshot


def replay(by_sku: Mapping[str, Sequence[events.Event]], *, findings: Findings) -> dict[snapshot.Line, str]:
    """Return the batch of each line as the events tell it; a step that cannot have happened is a finding."""
    told: dict[snapshot.Line, str] = {}
    for sku_events in by_sku.values():
        for event in sku_events:
            if event.name == "LineAllocated" and event.batchref:
                _allocate(told, event, findings)
            elif event.name == "LineDeallocated":
                _deallocate(told, event, findings)
    return told


def compare(database: snapshot.Snapshot, told: Mapping[snapshot.Line, str], *, findings: Findings) -> None:
    """Compare the order lines with those that the events tell of."""
    findings.compared[Check.LINES] = len(database.lines.keys() | told.keys())
    for line, placed in database.lines.items():
        batchref = told.get(line)
        if batchref is None:
            text = f"is in batch {placed.batchref} in the database, though no event says that it was allocated"
            findings.add(Check.LINES, line, text)
        elif batchref != placed.batchref:
            text = f"is in batch {placed.batchref} in the database, and in batch {batchref} by the events"
            findings.add(Check.LINES, line, text)
    for line in told.keys() - database.lines.keys():
        text = f"is in batch {told[line]} by the events, and in none in the database"
        findings.add(Check.LINES, line, text)


def check_batches(database: snapshot.Snapshot, *, findings: Findings) -> None:
    """See that no batch is oversold, and that totals, counts and places are those of its lines."""
    findings.compared[Check.BATCHES] = len(database.batches)
    places: dict[str, list[int]] = defaultdict(list)
    quantities: dict[str, int] = defaultdict(int)
    for line, placed in database.lines.items():
        places[placed.batchref].append(placed.place)
        quantities[placed.batchref] += line.qty
        batch = database.batches.get(placed.batchref)
        if batch is None or batch.sku != line.sku:
            whose = "does not exist" if batch is None else f"is of sku {batch.sku}"
            findings.add(Check.BATCHES, line, f"is in batch {placed.batchref}, which {whose}")
    for batch in database.batches.values():
        for problem in _problems(batch, quantities[batch.reference], places[batch.reference]):
            findings.add(Check.BATCHES, f"batch {batch.reference}", problem)
        if batch.sku not in database.products:
            findings.add(Check.BATCHES, f"batch {batch.reference}", f"has no product {batch.sku}")


def _allocate(told: dict[snapshot.Line, str], event: events.Event, findings: Findings) -> None:
    before = told.get(event.line)
    if before is not None:
        text = f"{event.place} allocates it to {event.batchref}, though it is in {before} already"
        findings.add(Check.LINES, event.line, text)
    told[event.line] = event.batchref or ""


def _deallocate(told: dict[snapshot.Line, str], event: events.Event, findings: Findings) -> None:
    before = told.pop(event.line, None)
    if before != event.batchref:
        text = f"{event.place} takes it off {event.batchref}, though it is in {before or 'no batch'}"
        findings.add(Check.LINES, event.line, text)


def _problems(batch: snapshot.Batch, quantity: int, places: Sequence[int]) -> Iterable[str]:
    if batch.allocated != quantity:
        yield f"counts {batch.allocated} allocated, and its lines need {quantity}"
    if not 0 <= batch.allocated <= batch.purchased:
        yield f"has {batch.allocated} of {batch.purchased} pieces allocated"
    if batch.line_count != len(places):
        yield f"counts {batch.line_count} lines, and has {len(places)}"
    if sorted(places) != list(range(len(places))):
        yield f"has gaps in the places of its lines: the {len(places)} lines reach up to place {max(places)}"
