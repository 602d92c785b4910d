"""The events that are published to the outside: a contract with others, apart from the domain's own."""

from __future__ import annotations

from allocation.domain import values


@values.value
class LineAllocated:
    """A line was given room in batch `batchref`."""

    orderid: str
    sku: str
    qty: int
    batchref: str


@values.value
class LineDeallocated:
    """A line left batch `batchref`, which had shrunk."""

    orderid: str
    sku: str
    qty: int
    batchref: str


@values.value
class OutOfStock:
    """A line found no room."""

    sku: str
    orderid: str
    qty: int


ExternalEvent = LineAllocated | LineDeallocated | OutOfStock
KINDS: tuple[type[ExternalEvent], ...] = (LineAllocated, LineDeallocated, OutOfStock)
