"""Products from and to their rows, for a whole micro-batch at once.

A product is loaded with the batches that have room or are named, their running totals, and only the
order lines that the commands at hand concern: a SKU with a million lines costs what a new one costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import arrays, product_changes
from allocation.domain import commands, events, model

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from allocation.adapters.postgres import reads, writes

_SKUS_OF = "SELECT sku FROM batches WHERE reference = ANY(%s::text[])"

_LINES_NAMED = """
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

_LINES = "SELECT batchref, place, orderid, sku, qty FROM lines"
# A product that has no such batch is there too. `IN` looks into a hash table; `= ANY` of a
# prepared statement would go through all references for each batch.
_PRODUCTS = """
SELECT p.sku, version_number, event_sequence, reference, created_quantity, eta, purchased, allocated, line_count
FROM unnest(%s::text[]) AS wanted (sku) JOIN products AS p USING (sku)
LEFT JOIN batches AS b ON b.sku = p.sku AND (
    b.allocated < b.purchased OR b.reference IN (SELECT unnest(%s::text[]) UNION ALL SELECT batchref FROM lines)
)
"""


class PostgresProducts:
    """The aggregates of one unit of work; everything in it was locked before it was loaded."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._products: dict[str, model.Product] = {}
        self._versions: dict[str, int] = {}
        self._sequences: dict[str, int] = {}
        self._new_sequences: dict[str, int] = {}
        self._batches: dict[str, product_changes.LoadedBatch] = {}
        self._skus_of_refs: dict[str, set[str]] = {}
        self._touched: dict[str, model.Product] = {}

    def skus_of(self, batchrefs: Collection[str]) -> set[str]:
        """Return the skus of those references that exist; a reference never changes its sku."""
        self._cursor.execute(_SKUS_OF, (arrays.texts(batchrefs),))
        return {sku for (sku,) in self._cursor}

    def skus_concerned(self, named: Collection[commands.Command]) -> set[str]:
        """Return the skus that these commands name, and those of the batches that they name and that exist."""
        skus, refs = names_in(named)
        return skus | self.skus_of(refs) if refs else skus

    def read(self, asked: reads.Reads, skus: Collection[str], claimed: Iterable[commands.Command]) -> None:
        """Have these products read, as far as these commands concern them; what was read before is forgotten."""
        wanted = list(claimed)
        refs = self._note_refs(wanted)
        lines: dict[str, dict[int, model.OrderLine]] = {}
        asked.name("lines", *_lines_of(wanted))
        asked.add(_LINES, (), columns=5, take=lambda rows: _take_lines(rows, into=lines))
        asked.add(
            _PRODUCTS,
            (arrays.texts(skus), arrays.texts(refs)),
            columns=9,
            take=lambda rows: self._take_products(rows, lines, refs={*refs, *lines}),
        )

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

    def flush(self, into: writes.Writes) -> None:
        """Have the differences written; when a product is no longer the version loaded, that fails as `Retryable`."""
        changes = [
            product_changes.Change(
                product, self._versions.get(sku), self._new_sequences.get(sku, self._sequences.get(sku, 0))
            )
            for sku, product in self._products.items()
            if product.version_number != self._versions.get(sku, 0) or sku in self._new_sequences
        ]
        if changes:
            product_changes.write(into, changes, batches=self._batches)

    def _note_refs(self, wanted: Iterable[commands.Command]) -> set[str]:
        refs = set()
        for command in wanted:
            if not isinstance(command, commands.Allocate):
                refs.add(command.ref)
                if command.sku is not None:
                    self._skus_of_refs.setdefault(command.ref, set()).add(command.sku)
        return refs

    def _take_products(
        self, rows: reads.Rows, lines: Mapping[str, Mapping[int, model.OrderLine]], *, refs: Collection[str]
    ) -> None:
        of_sku: dict[str, list[model.Batch]] = {}
        for sku, version, sequence, ref, created, eta, purchased, allocated, line_count in rows:
            if sku not in of_sku:
                of_sku[sku] = []
                self._versions[sku] = version
                self._sequences[sku] = sequence
            if ref is None:
                continue
            found = lines.get(ref, {})
            places = {found[place]: place for place in sorted(found)} if found else {}
            batch = model.Batch.restore(ref, sku, created, eta, purchased=purchased, allocated=allocated, lines=places)
            of_sku[sku].append(batch)
            self._batches[ref] = product_changes.LoadedBatch(purchased, allocated, line_count, places)
            if ref in refs:  # others are asked for by sku alone
                self._skus_of_refs.setdefault(ref, set()).add(sku)
        for sku, batches in of_sku.items():
            self._products[sku] = model.Product(sku, batches, self._versions[sku])


def names_in(named: Collection[commands.Command]) -> tuple[set[str], set[str]]:
    """Return the skus and the batch references that these commands name."""
    skus = {command.sku for command in named if command.sku is not None}
    return skus, {command.ref for command in named if not isinstance(command, commands.Allocate)}


def concerning(skus: Collection[str], named: Iterable[commands.Command]) -> list[commands.Command]:
    """Return those of these commands that are, or may be, about these skus: which sku a batch has is not known here."""
    return [one for one in named if not isinstance(one, commands.Allocate) or one.sku in skus]


def _lines_of(wanted: Iterable[commands.Command]) -> tuple[str, Sequence[object]]:
    """Return the statement that finds the lines which these commands concern, and its values."""
    named = [(one.orderid, one.sku, one.qty) for one in wanted if isinstance(one, commands.Allocate)]
    shrunk: dict[str, int] = {}
    for command in wanted:
        if isinstance(command, commands.ChangeBatchQuantity):
            shrunk[command.ref] = min(command.qty, shrunk.get(command.ref, command.qty))
    if not shrunk:
        return _LINES_NAMED, _columns(named, 3)
    return f"{_LINES_NAMED} UNION {_LINES_TO_GO}", (*_columns(named, 3), *_columns(shrunk.items(), 2))


def _columns(rows: Collection[Any], count: int) -> tuple[object, ...]:
    return arrays.columns(rows) if rows else ("{}",) * count


def _take_lines(rows: reads.Rows, *, into: dict[str, dict[int, model.OrderLine]]) -> None:
    for batchref, place, orderid, sku, qty in rows:
        into.setdefault(batchref, {})[place] = model.OrderLine(orderid, sku, qty)
