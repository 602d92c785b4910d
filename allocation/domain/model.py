"""Which batch serves which order line.

`Product` is the aggregate and the boundary of consistency: every change of it raises its
`version_number` by one, and allocated never exceeds purchased. All orders are stated ones
(preference of batches, most recently allocated line first), so that the same commands give the
same result on any machine.
"""

from __future__ import annotations

import operator
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from allocation.domain import commands, events, refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

Preference = tuple[bool, date, str]

_preference = operator.attrgetter("preference")


class OrderLine(NamedTuple):
    """`qty` pieces of `sku` for one order; equal when all three are equal.

    It is looked up in every batch of its product, so how fast it is hashed matters.
    """

    orderid: str
    sku: str
    qty: int


class Batch:
    """Stock bought together: `qty` pieces of `sku`, arriving on `eta` (None: in the warehouse).

    The smaller its `preference`, the sooner it is used: the warehouse, then the earliest ETA, then by reference.

    The running total is kept apart from the lines, so that a batch with a million lines can be
    loaded with only those that the commands at hand concern. The lines known stand in the order in
    which they were allocated.
    """

    __slots__ = (
        "_allocated_quantity",
        "_lines",
        "_purchased_quantity",
        "created_quantity",
        "eta",
        "preference",
        "reference",
        "sku",
    )

    def __init__(self, ref: str, sku: str, qty: int, eta: date | None = None) -> None:
        self.reference = ref
        self.sku = sku
        self.eta = eta
        self.preference: Preference = (eta is not None, eta or date.min, ref)
        self.created_quantity = qty
        self._purchased_quantity = qty
        self._allocated_quantity = 0
        self._lines: dict[OrderLine, None] = {}

    @classmethod
    def restore(
        cls,
        ref: str,
        sku: str,
        created_qty: int,
        eta: date | None,
        *,
        purchased: int,
        allocated: int,
        lines: Iterable[OrderLine] = (),
    ) -> Batch:
        """Build a batch as it was stored; `lines` (the earliest first) may be a part of them."""
        batch = cls(ref, sku, created_qty, eta)
        batch._purchased_quantity = purchased
        batch._allocated_quantity = allocated
        batch._lines = dict.fromkeys(lines)
        return batch

    def __repr__(self) -> str:
        return f"<Batch {self.reference}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Batch) and other.reference == self.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    def __contains__(self, line: OrderLine) -> bool:
        return line in self._lines

    @property
    def lines(self) -> tuple[OrderLine, ...]:
        """The lines known, the earliest allocated first."""
        return tuple(self._lines)

    @property
    def purchased_quantity(self) -> int:
        """What was bought, as last changed."""
        return self._purchased_quantity

    @property
    def allocated_quantity(self) -> int:
        """What is promised to order lines."""
        return self._allocated_quantity

    @property
    def available_quantity(self) -> int:
        """What can still be promised; negative only while lines are being taken off."""
        return self._purchased_quantity - self._allocated_quantity

    def can_allocate(self, line: OrderLine) -> bool:
        """Tell whether the whole line fits."""
        return self.sku == line.sku and self._purchased_quantity - self._allocated_quantity >= line.qty

    def allocate(self, line: OrderLine) -> None:
        """Promise stock to a line that fits; the same line again changes nothing."""
        if line not in self._lines and self.can_allocate(line):
            self._lines[line] = None
            self._allocated_quantity += line.qty

    def deallocate_one(self) -> OrderLine:
        """Take off the most recently allocated line and return it."""
        line, _ = self._lines.popitem()
        self._allocated_quantity -= line.qty
        return line

    def change_purchased_quantity(self, qty: int) -> None:
        """Set what was bought; the caller then takes lines off until nothing is oversold."""
        self._purchased_quantity = qty


class Product:
    """All batches of one SKU.

    `events` holds the events and commands that are not yet handled, in the order in which they
    happened.
    """

    __slots__ = ("batches", "events", "sku", "version_number")

    def __init__(self, sku: str, batches: Iterable[Batch], version_number: int = 0) -> None:
        self.sku = sku
        self.batches = sorted(batches, key=_preference)
        self.version_number = version_number
        self.events: list[events.Event | commands.Command] = []

    def __repr__(self) -> str:
        return f"<Product {self.sku} version {self.version_number}>"

    def add_batch(self, batch: Batch) -> None:
        """Add a batch; the same batch again changes nothing.

        Raises `Conflict` when the reference was created with another quantity or ETA.
        """
        known = self._find(batch.reference)
        if known is None:
            self.batches.append(batch)
            self.batches.sort(key=_preference)
            self.version_number += 1
        elif (known.created_quantity, known.eta) != (batch.created_quantity, batch.eta):
            msg = (
                f"batch {batch.reference} of {self.sku} was created with qty {known.created_quantity} and eta "
                f"{known.eta}, not with qty {batch.created_quantity} and eta {batch.eta}"
            )
            raise refusal.Conflict(msg)

    def allocate(self, line: OrderLine) -> str | None:
        """Promise stock to a line and return the batch's reference, None when no batch has room.

        A line that already has a batch keeps it, and nothing is announced.
        """
        for batch in self.batches:
            if line in batch:
                return batch.reference
        for batch in self.batches:
            if batch.can_allocate(line):
                return self._allocate_to(batch, line)
        self.events.append(events.OutOfStock(line.sku, line.orderid, line.qty))
        return None

    def change_batch_quantity(self, ref: str, qty: int) -> None:
        """Set a batch's purchased quantity, take off what no longer fits and ask for each line again.

        Raises KeyError when the product has no such batch.
        """
        batch = self._find(ref)
        if batch is None:
            raise KeyError(ref)
        if batch.purchased_quantity == qty:
            return
        batch.change_purchased_quantity(qty)
        self.version_number += 1
        taken_off = []
        while batch.available_quantity < 0:
            taken_off.append(self._take_one_off(batch))
        self.events.extend(commands.Allocate(line.orderid, line.sku, line.qty) for line in taken_off)

    def _find(self, ref: str) -> Batch | None:
        return next((batch for batch in self.batches if batch.reference == ref), None)

    def _allocate_to(self, batch: Batch, line: OrderLine) -> str:
        batch.allocate(line)
        self.version_number += 1
        self.events.append(events.Allocated(line.orderid, line.sku, line.qty, batch.reference))
        return batch.reference

    def _take_one_off(self, batch: Batch) -> OrderLine:
        line = batch.deallocate_one()
        self.version_number += 1
        self.events.append(events.Deallocated(line.orderid, line.sku, line.qty, batch.reference))
        return line
