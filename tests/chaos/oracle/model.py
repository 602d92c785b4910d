"""The domain, written a second time from its description, as plainly and slowly as can be."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Line(NamedTuple):
    """Equal when all three are equal."""

    orderid: str
    sku: str
    qty: int


class Happened(NamedTuple):
    """An event as it goes out."""

    topic: str
    line: Line
    batchref: str | None


class No(Exception):
    """A command is refused."""


@dataclass
class Batch:
    """Lines in the order in which they were allocated."""

    ref: str
    sku: str
    created: int
    eta: dt.date | None
    purchased: int
    lines: list[Line] = field(default_factory=list)

    @property
    def room(self) -> int:
        return self.purchased - sum(line.qty for line in self.lines)


class Stock:
    """All products."""

    def __init__(self) -> None:
        self.batches: dict[str, Batch] = {}
        self.versions: dict[str, int] = {}

    def handle(self, topic: str, fields: dict[str, Any]) -> list[Happened]:
        """Do what a command says and return what happened; raises `No`."""
        match topic:
            case "create_batch":
                return self._create(**fields)
            case "change_batch_quantity":
                return self._change(**fields)
        return self._allocate(Line(**fields))

    def _create(self, ref: str, sku: str, qty: int, eta: dt.date | None) -> list[Happened]:
        known = self.batches.get(ref)
        if known is None:
            self.batches[ref] = Batch(ref, sku, qty, eta, qty)
            self._changed(sku)
        elif (known.sku, known.created, known.eta) != (sku, qty, eta):
            raise No(f"{ref} is another batch")
        return []

    def _allocate(self, line: Line) -> list[Happened]:
        mine = [batch for batch in self.batches.values() if batch.sku == line.sku]
        if not mine:
            raise No(f"nobody knows {line.sku}")
        if any(line in batch.lines for batch in mine):
            return []
        fitting = [batch for batch in mine if batch.room >= line.qty]
        if not fitting:
            return [Happened("out_of_stock", line, None)]
        best = min(fitting, key=lambda batch: (batch.eta is not None, batch.eta or dt.date.min, batch.ref.encode()))
        best.lines.append(line)
        self._changed(line.sku)
        return [Happened("line_allocated", line, best.ref)]

    def _change(self, batchref: str, qty: int, sku: str | None) -> list[Happened]:
        batch = self.batches.get(batchref)
        if batch is None or sku not in (None, batch.sku):
            raise No(f"nobody knows {batchref} of {sku}")
        if qty == batch.purchased:
            return []
        batch.purchased = qty
        self._changed(batch.sku)
        gone = []
        while batch.room < 0:
            gone.append(batch.lines.pop())
            self._changed(batch.sku)
        events = [Happened("line_deallocated", line, batch.ref) for line in gone]
        for line in gone:
            events += self._allocate(line)
        return events

    def _changed(self, sku: str) -> None:
        self.versions[sku] = self.versions.get(sku, 0) + 1
