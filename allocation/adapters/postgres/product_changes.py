"""The way of changed products into their rows, for a whole micro-batch at once.

What is written is the difference between what was loaded and what is there now. A product that somebody
else has changed meanwhile is noticed by its version.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from allocation.adapters.postgres import arrays

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from allocation.adapters.postgres import writes
    from allocation.domain import model

_INSERT_PRODUCTS = """
INSERT INTO products (sku, version_number, event_sequence) SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[])
"""
_UPDATE_PRODUCTS = """
UPDATE products AS p SET version_number = v.version_number, event_sequence = v.event_sequence
FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[]) AS v (sku, loaded, version_number, event_sequence)
WHERE p.sku = v.sku AND p.version_number = v.loaded
"""
_INSERT_BATCHES = """
INSERT INTO batches (reference, sku, created_quantity, purchased, allocated, eta, line_count)
SELECT * FROM unnest(%s::text[], %s::text[], %s::int[], %s::int[], %s::int[], %s::date[], %s::int[])
"""
_UPDATE_BATCHES = """
UPDATE batches AS b SET purchased = v.purchased, allocated = v.allocated, line_count = v.line_count
FROM unnest(%s::text[], %s::int[], %s::int[], %s::int[]) AS v (reference, purchased, allocated, line_count)
WHERE b.reference = v.reference
"""
_DELETE_LINES = """
DELETE FROM order_lines AS l USING unnest(%s::text[], %s::text[], %s::int[]) AS gone (orderid, sku, qty)
WHERE l.orderid = gone.orderid AND l.sku = gone.sku AND l.qty = gone.qty
"""
_LINES = ("orderid", "sku", "qty", "batchref", "place")


class Change(NamedTuple):
    """A product, its version as loaded (None: it is new), and the number of its last event."""

    product: model.Product
    loaded: int | None
    sequence: int


@dataclass(slots=True)
class LoadedBatch:
    """A batch as its rows were: what a change is measured against. `places` are those of the lines that were loaded."""

    purchased: int
    allocated: int
    line_count: int
    places: dict[model.OrderLine, int]

    def is_as(self, batch: model.Batch) -> bool:
        """Tell whether the batch still is what was loaded."""
        return (
            self.allocated == batch.allocated_quantity
            and self.purchased == batch.purchased_quantity
            and (not self.places or tuple(self.places) == batch.lines)
        )


@dataclass(slots=True)
class _Rows:
    """What is to be written of batches and lines."""

    new_batches: list[tuple[object, ...]] = field(default_factory=list)
    changed_batches: list[tuple[object, ...]] = field(default_factory=list)
    lines_gone: list[model.OrderLine] = field(default_factory=list)
    lines_new: list[tuple[object, ...]] = field(default_factory=list)


def write(into: writes.Writes, changes: Sequence[Change], *, batches: Mapping[str, LoadedBatch]) -> None:
    """Have these products written; `batches` are those that were loaded, by reference.

    When a product is no longer the version that was loaded, that fails as `Retryable`.
    """
    _write_products(into, changes)
    rows = _Rows()
    for change in changes:
        for batch in change.product.batches:
            _compare(batch, batches.get(batch.reference), rows)
    _write_batches(into, rows)
    _write_lines(into, rows)


def _write_products(into: writes.Writes, changes: Sequence[Change]) -> None:
    new, old = [], []
    for product, loaded, sequence in changes:
        if loaded is None:
            new.append((product.sku, product.version_number, sequence))
        else:
            old.append((product.sku, loaded, product.version_number, sequence))
    if new:
        into.change(_INSERT_PRODUCTS, arrays.columns(new))
    if old:
        otherwise = "another writer has changed one of these products since it was read"
        into.change(_UPDATE_PRODUCTS, arrays.columns(old), rows=len(old), otherwise=otherwise)


def _compare(batch: model.Batch, loaded: LoadedBatch | None, rows: _Rows) -> None:
    before = loaded or LoadedBatch(0, 0, 0, {})
    if loaded and loaded.is_as(batch):
        return
    gone, new = _difference(tuple(before.places), batch.lines)
    place = before.line_count - len(gone)
    if gone and before.places[gone[0]] != place:
        msg = f"lines of batch {batch.reference} were taken off that are not its most recent ones"
        raise AssertionError(msg)
    rows.lines_gone.extend(gone)
    rows.lines_new.extend((*line, batch.reference, place + above) for above, line in enumerate(new))
    totals = (batch.purchased_quantity, batch.allocated_quantity)
    if loaded:
        rows.changed_batches.append((batch.reference, *totals, place + len(new)))
    else:
        row = (batch.reference, batch.sku, batch.created_quantity, *totals, batch.eta, place + len(new))
        rows.new_batches.append(row)


def _write_batches(into: writes.Writes, rows: _Rows) -> None:
    if rows.new_batches:
        into.change(_INSERT_BATCHES, arrays.columns(rows.new_batches))
    if rows.changed_batches:
        into.change(_UPDATE_BATCHES, arrays.columns(rows.changed_batches))


def _write_lines(into: writes.Writes, rows: _Rows) -> None:
    if rows.lines_gone:  # a line that moves to another batch is deleted and inserted
        into.at_once(_DELETE_LINES, arrays.columns(rows.lines_gone))
    if rows.lines_new:
        into.insert("order_lines", _LINES, list(zip(*rows.lines_new, strict=True)))


def _difference(
    before: tuple[model.OrderLine, ...], now: tuple[model.OrderLine, ...]
) -> tuple[tuple[model.OrderLine, ...], tuple[model.OrderLine, ...]]:
    """Return which lines went off the top and which came on; what is below has not moved."""
    kept = 0
    while kept < min(len(before), len(now)) and before[kept] == now[kept]:
        kept += 1
    return before[kept:], now[kept:]
