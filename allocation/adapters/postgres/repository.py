"""Products from and to their rows, for a whole micro-batch at once.

A product is loaded with the batches that have room or are named, their running totals, and only the
order lines that the commands at hand concern: a SKU with a million lines costs what a new one costs.
What is written is the difference between what was loaded and what is there now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import arrays, copying
from allocation.domain import commands, events, model
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_SKUS_OF = "SELECT sku FROM batches WHERE reference = ANY(%s::text[])"

_PRODUCTS = "SELECT sku, version_number, event_sequence FROM products WHERE sku = ANY(%s::text[])"

_LINES = """
SELECT l.batchref, l.place, l.orderid, l.sku, l.qty
FROM unnest(%s::text[], %s::text[], %s::int[]) AS wanted (orderid, sku, qty)
JOIN order_lines AS l USING (orderid, sku, qty)
"""

# The most recent lines of a batch, as many as must go for it to hold `least`; each line takes at least one piece.
_LINES_TO_GO = """
SELECT top.batchref, top.place, top.orderid, top.sku, top.qty
FROM unnest(%s::text[], %s::int[]) AS shrunk (reference, least)
JOIN batches AS b USING (reference)
CROSS JOIN LATERAL (
    SELECT newest.*, sum(newest.qty) OVER (ORDER BY newest.place DESC) - newest.qty AS freed_before
    FROM (
        SELECT * FROM order_lines WHERE batchref = b.reference
        ORDER BY place DESC LIMIT greatest(b.allocated - shrunk.least, 0)
    ) AS newest
) AS top
WHERE top.freed_before < b.allocated - shrunk.least
"""

# Joined, since for `= ANY` the planner compares each of the skus with each of the most common ones.
_BATCHES = """
SELECT reference, sku, created_quantity, eta, purchased, allocated, line_count
FROM unnest(%s::text[]) AS wanted (sku) JOIN batches USING (sku)
WHERE allocated < purchased OR reference = ANY(%s::text[])
"""

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


@dataclass(slots=True)
class _LoadedBatch:
    """A batch as its rows were: what a change is measured against."""

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
class _Changes:
    """The rows to write."""

    new_batches: list[tuple[object, ...]] = field(default_factory=list)
    changed_batches: list[tuple[object, ...]] = field(default_factory=list)
    lines_gone: list[model.OrderLine] = field(default_factory=list)
    lines_new: list[tuple[object, ...]] = field(default_factory=list)


class PostgresProducts:
    """The aggregates of one unit of work; everything in it was locked before it was loaded."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._products: dict[str, model.Product] = {}
        self._versions: dict[str, int] = {}
        self._sequences: dict[str, int] = {}
        self._new_sequences: dict[str, int] = {}
        self._batches: dict[str, _LoadedBatch] = {}
        self._skus_of_refs: dict[str, set[str]] = {}
        self._touched: dict[str, model.Product] = {}

    def skus_of(self, batchrefs: Collection[str]) -> set[str]:
        """Return the skus of those references that exist; a reference never changes its sku."""
        self._cursor.execute(_SKUS_OF, (arrays.texts(batchrefs),))
        return {sku for (sku,) in self._cursor}

    def load(self, skus: Collection[str], claimed: Iterable[commands.Command]) -> None:
        """Load these products, as far as these commands concern them, in a fixed number of statements."""
        wanted = list(claimed)
        self._cursor.execute(_PRODUCTS, (arrays.texts(skus),))
        for sku, version, sequence in self._cursor:
            self._versions[sku] = version
            self._sequences[sku] = sequence
        places = self._load_lines(wanted)
        refs = {*places, *self._note_refs(wanted)}
        self._load_batches(skus, refs, places)

    def get(self, sku: str) -> model.Product | None:
        """Return the product, None when no batch of it was ever created."""
        product = self._products.get(sku)
        if product is not None:
            self._touched[sku] = product
        return product

    def get_by_batchref(self, batchref: str) -> model.Product | None:
        """Return the product that has this batch, None when the reference is unknown."""
        for sku in self._skus_of_refs.get(batchref, ()):
            product = self._products.get(sku)
            if product is not None and any(batch.reference == batchref for batch in product.batches):
                return self.get(sku)
        return None

    def add(self, product: model.Product) -> None:
        """Take in a new product."""
        self._products[product.sku] = product
        self._touched[product.sku] = product

    def collect_new_events(self) -> Iterable[events.Event | commands.Command]:
        """Hand over the events of the products touched since the last call."""
        if not self._touched:
            return ()
        touched, self._touched = self._touched, {}
        pending: list[events.Event | commands.Command] = []
        for product in touched.values():
            if product.events:
                pending += product.events
                product.events = []
        return pending

    def next_sequence(self, sku: str) -> int:
        """Count one event more of this sku."""
        number = self._new_sequences.get(sku, self._sequences.get(sku, 0)) + 1
        self._new_sequences[sku] = number
        return number

    def flush(self) -> None:
        """Write the differences; raises `Retryable` when a product is no longer the version that was loaded."""
        changed = [
            product
            for sku, product in self._products.items()
            if product.version_number != self._versions.get(sku, 0) or sku in self._new_sequences
        ]
        if not changed:
            return
        self._write_products(changed)
        changes = _Changes()
        for product in changed:
            for batch in product.batches:
                self._compare(batch, changes)
        self._write_batches(changes)
        self._write_lines(changes)

    def _note_refs(self, wanted: Iterable[commands.Command]) -> set[str]:
        refs = set()
        for command in wanted:
            if not isinstance(command, commands.Allocate):
                refs.add(command.ref)
                if command.sku is not None:
                    self._skus_of_refs.setdefault(command.ref, set()).add(command.sku)
        return refs

    def _load_lines(self, wanted: Iterable[commands.Command]) -> dict[str, dict[model.OrderLine, int]]:
        found: dict[str, dict[int, model.OrderLine]] = {}
        asked = [command for command in wanted if isinstance(command, commands.Allocate)]
        shrunk: dict[str, int] = {}
        for command in wanted:
            if isinstance(command, commands.ChangeBatchQuantity):
                shrunk[command.ref] = min(command.qty, shrunk.get(command.ref, command.qty))
        if asked:
            self._cursor.execute(_LINES, _columns([(line.orderid, line.sku, line.qty) for line in asked]))
            self._take_lines(found)
        if shrunk:
            self._cursor.execute(_LINES_TO_GO, _columns(list(shrunk.items())))
            self._take_lines(found)
        return {ref: {lines[place]: place for place in sorted(lines)} for ref, lines in found.items()}

    def _take_lines(self, found: dict[str, dict[int, model.OrderLine]]) -> None:
        for batchref, place, orderid, sku, qty in self._cursor:
            found.setdefault(batchref, {})[place] = model.OrderLine(orderid, sku, qty)

    def _load_batches(
        self, skus: Collection[str], refs: Collection[str], places: Mapping[str, dict[model.OrderLine, int]]
    ) -> None:
        of_sku: dict[str, list[model.Batch]] = {sku: [] for sku in self._versions}
        self._cursor.execute(_BATCHES, (arrays.texts(skus), arrays.texts(refs)))
        for ref, sku, created, eta, purchased, allocated, line_count in self._cursor:
            lines = places.get(ref, {})
            batch = model.Batch.restore(ref, sku, created, eta, purchased=purchased, allocated=allocated, lines=lines)
            of_sku[sku].append(batch)
            self._batches[ref] = _LoadedBatch(purchased, allocated, line_count, lines)
            if ref in refs:  # others are asked for by sku alone
                self._skus_of_refs.setdefault(ref, set()).add(sku)
        for sku, batches in of_sku.items():
            self._products[sku] = model.Product(sku, batches, self._versions[sku])

    def _compare(self, batch: model.Batch, changes: _Changes) -> None:
        loaded = self._batches.get(batch.reference)
        before = loaded or _LoadedBatch(0, 0, 0, {})
        if loaded and loaded.is_as(batch):
            return
        gone, new = _difference(tuple(before.places), batch.lines)
        place = before.line_count - len(gone)
        if gone and before.places[gone[0]] != place:
            msg = f"lines of batch {batch.reference} were taken off that are not its most recent ones"
            raise AssertionError(msg)
        changes.lines_gone.extend(gone)
        changes.lines_new.extend(
            (line.orderid, line.sku, line.qty, batch.reference, place + above) for above, line in enumerate(new)
        )
        totals = (batch.purchased_quantity, batch.allocated_quantity)
        if loaded:
            changes.changed_batches.append((batch.reference, *totals, place + len(new)))
        else:
            row = (batch.reference, batch.sku, batch.created_quantity, *totals, batch.eta, place + len(new))
            changes.new_batches.append(row)

    def _write_products(self, changed: Iterable[model.Product]) -> None:
        new, old = [], []
        for product in changed:
            sku, version = product.sku, product.version_number
            sequence = self._new_sequences.get(sku, self._sequences.get(sku, 0))
            if sku in self._versions:
                old.append((sku, self._versions[sku], version, sequence))
            else:
                new.append((sku, version, sequence))
        if new:
            self._cursor.execute(_INSERT_PRODUCTS, _columns(new))
        if old:
            self._cursor.execute(_UPDATE_PRODUCTS, _columns(old))
            if self._cursor.rowcount != len(old):
                raise ports.Retryable("another writer has changed one of these products since it was read")

    def _write_batches(self, changes: _Changes) -> None:
        if changes.new_batches:
            self._cursor.execute(_INSERT_BATCHES, _columns(changes.new_batches))
        if changes.changed_batches:
            self._cursor.execute(_UPDATE_BATCHES, _columns(changes.changed_batches))

    def _write_lines(self, changes: _Changes) -> None:
        if changes.lines_gone:
            rows = [(line.orderid, line.sku, line.qty) for line in changes.lines_gone]
            self._cursor.execute(_DELETE_LINES, _columns(rows))
        columns = ("orderid", "sku", "qty", "batchref", "place")
        copying.copy_in(self._cursor, "order_lines", columns, changes.lines_new)


def _difference(
    before: tuple[model.OrderLine, ...], now: tuple[model.OrderLine, ...]
) -> tuple[tuple[model.OrderLine, ...], tuple[model.OrderLine, ...]]:
    """Return which lines went off the top and which came on; what is below has not moved."""
    kept = 0
    while kept < min(len(before), len(now)) and before[kept] == now[kept]:
        kept += 1
    return before[kept:], now[kept:]


def _columns(rows: Collection[Any]) -> tuple[object, ...]:
    """Return an array for each column."""
    return tuple(map(_array, zip(*rows, strict=True)))


def _array(column: tuple[Any, ...]) -> object:
    kinds = set(map(type, column))
    if kinds == {str}:
        return arrays.texts(column)
    if kinds == {int}:
        return arrays.numbers(column)
    return list(column)
