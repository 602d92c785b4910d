"""The events that are published to the outside: a contract with others, apart from the domain's own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LineAllocated:
    """A line was given room in batch `batchref`."""

    orderid: str
    sku: str
    qty: int
    batchref: str


@dataclass(frozen=True, slots=True)
class LineDeallocated:
    """A line left batch `batchref`, which had shrunk."""

    orderid: str
    sku: str
    qty: int
    batchref: str


@dataclass(frozen=True, slots=True)
class OutOfStock:
    """A line found no room."""

    sku: str
    orderid: str
    qty: int


ExternalEvent = LineAllocated | LineDeallocated | OutOfStock
