"""The facts that happen inside: past tense, any number of handlers, never refused."""

from __future__ import annotations

from allocation.domain import values


@values.value
class Allocated:
    """A line was given room in batch `batchref`."""

    orderid: str
    sku: str
    qty: int
    batchref: str


@values.value
class Deallocated:
    """A line was taken off batch `batchref`, which had shrunk."""

    orderid: str
    sku: str
    qty: int
    batchref: str


@values.value
class OutOfStock:
    """No batch of `sku` has room for the whole line; it stays unallocated."""

    sku: str
    orderid: str
    qty: int


Event = Allocated | Deallocated | OutOfStock
