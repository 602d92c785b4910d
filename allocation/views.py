"""The read side: what callers may see, as plain SQL, past the domain model.

Reads only what is committed and writes nothing, so that any number of readers cost the writers nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

Status = Literal["handled", "refused", "waiting"]


@dataclass(frozen=True, slots=True)
class AllocatedLine:
    """A line of an order, and the batch that serves it."""

    sku: str
    batchref: str
    qty: int


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """What became of a command that the worker has seen, and where the command lies in Kafka.

    `result` is the batch reference that an `Allocate` got; `reason` (a stable word) and `error` (a
    sentence) say why a command was refused or waits; `digest` is that of its topic and value.
    """

    id: str
    source: str
    status: Status
    digest: bytes
    topic: str
    partition: int
    offset: int
    result: str | None = None
    reason: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class BatchStock:
    """A batch, and how much of it is promised; without `eta` it is in the warehouse."""

    batchref: str
    eta: date | None
    purchased: int
    allocated: int
    lines: int


@dataclass(frozen=True, slots=True)
class SkuStock:
    """The batches of a sku, in the order in which they are allocated."""

    sku: str
    batches: tuple[BatchStock, ...]


@dataclass(frozen=True, slots=True)
class StockPage:
    """Some of the skus in order, `first` counted from 0, and how many there are in all."""

    total: int
    first: int
    skus: tuple[SkuStock, ...]


_ALLOCATIONS = sqlalchemy.text("""
    SELECT sku, batchref, qty FROM order_lines WHERE orderid = :orderid ORDER BY sku, qty
""")

_SKU_COUNT = sqlalchemy.text("SELECT count(*) FROM products WHERE starts_with(sku, :prefix)")

# A page of skus, each with its batches; a product without any has one row without a reference.
_STOCK = sqlalchemy.text("""
    SELECT p.sku, b.reference, b.eta, b.purchased, b.allocated, b.line_count
    FROM (
        SELECT sku FROM products WHERE starts_with(sku, :prefix) ORDER BY sku OFFSET :first LIMIT :count
    ) AS p
    LEFT JOIN batches AS b ON b.sku = p.sku
    ORDER BY p.sku, b.eta NULLS FIRST, b.reference
""")

_OUTCOME_COLUMNS = 'id, source, outcome, digest, topic, "partition", "offset", result, reason, error'

_OUTCOMES = sqlalchemy.text(f"""
    SELECT {_OUTCOME_COLUMNS} FROM inbox WHERE id = ANY(:ids) AND source = :source
""")  # noqa: S608 - a constant

_OUTCOMES_OF_ANY_SOURCE = sqlalchemy.text(f"""
    SELECT {_OUTCOME_COLUMNS} FROM inbox WHERE id = :id ORDER BY source
""")  # noqa: S608 - a constant


def allocations(connection: sqlalchemy.Connection, *, orderid: str) -> tuple[AllocatedLine, ...]:
    """Return the allocated lines of an order by sku and quantity; those out of stock are not among them."""
    if not _storable(orderid):
        return ()
    rows = connection.execute(_ALLOCATIONS, {"orderid": orderid})
    return tuple(AllocatedLine(*row) for row in rows)


def stock(connection: sqlalchemy.Connection, *, prefix: str, first: int, count: int) -> StockPage:
    """Return a page of the skus that begin with `prefix`, `count` of them from `first` on."""
    if not _storable(prefix):
        return StockPage(0, first, ())
    total = connection.execute(_SKU_COUNT, {"prefix": prefix}).scalar_one()
    rows = connection.execute(_STOCK, {"prefix": prefix, "first": first, "count": count})
    batches: dict[str, list[BatchStock]] = {}
    for sku, *batch in rows:
        of_sku = batches.setdefault(sku, [])
        if batch[0] is not None:
            of_sku.append(BatchStock(*batch))
    return StockPage(total, first, tuple(SkuStock(sku, tuple(found)) for sku, found in batches.items()))


def command_outcomes(
    connection: sqlalchemy.Connection, *, ids: Collection[str], source: str
) -> dict[str, CommandOutcome]:
    """Return what became of those of a sender's commands that the worker has seen, by id, in one query."""
    rows = connection.execute(_OUTCOMES, {"ids": list(ids), "source": source})
    return {row.id: _outcome(row) for row in rows}


def command_outcome(connection: sqlalchemy.Connection, *, id: str, source: str) -> CommandOutcome | None:  # noqa: A002
    """Return what became of the command with this id: the one of `source`, else that of the first other sender."""
    if not _storable(id):
        return None
    found = [_outcome(row) for row in connection.execute(_OUTCOMES_OF_ANY_SOURCE, {"id": id})]
    return next((one for one in found if one.source == source), found[0] if found else None)


def _outcome(row: sqlalchemy.Row[Any]) -> CommandOutcome:
    return CommandOutcome(
        id=row.id,
        source=row.source,
        status=row.outcome,
        digest=bytes(row.digest),
        topic=row.topic,
        partition=row.partition,
        offset=row.offset,
        result=row.result,
        reason=row.reason,
        error=row.error,
    )


def _storable(name: str) -> bool:
    """Whether Postgres can hold it at all: it takes no NUL, and only what UTF-8 can say."""
    try:
        return b"\0" not in name.encode()
    except UnicodeEncodeError:
        return False
