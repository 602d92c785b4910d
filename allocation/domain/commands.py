"""The instructions that the service takes: imperative, one handler each, may be refused.

A command that exists is valid by itself; whether it fits the stock is for its handler to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.domain import refusal, values

if TYPE_CHECKING:
    from datetime import date

MAX_ID_BYTES = 255  # what an index entry, a header and a log line all take without trouble
MAX_QTY = 2**31 - 1  # an Avro int, and a Postgres integer


def _check_id(field: str, value: str) -> None:
    if not value:
        msg = f"{field} is empty; it must name something"
        raise refusal.Invalid(msg)
    if len(value) * 4 > MAX_ID_BYTES and len(_utf8(field, value)) > MAX_ID_BYTES:
        msg = f"{field} {value[:40]!r}… is {len(_utf8(field, value))} bytes long; at most {MAX_ID_BYTES} bytes of UTF-8"
        raise refusal.Invalid(msg)
    if not value.isprintable():
        _check_characters(field, value)


def _check_characters(field: str, value: str) -> None:
    _utf8(field, value)
    if "\0" in value:
        msg = f"{field} {value!r} holds a NUL character, which cannot be stored"
        raise refusal.Invalid(msg)


def _utf8(field: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        msg = f"{field} {value!r} holds a lone surrogate, which is no character"
        raise refusal.Invalid(msg) from error


def _check_qty(value: int, *, least: int) -> None:
    if not least <= value <= MAX_QTY:
        msg = f"qty is {value}; it must be a whole number from {least} to {MAX_QTY}"
        raise refusal.Invalid(msg)


@values.value
class CreateBatch:
    """Add `qty` pieces of `sku` as batch `ref`; `eta` is None for stock in the warehouse."""

    ref: str
    sku: str
    qty: int
    eta: date | None = None

    def __post_init__(self) -> None:
        """Refuse values that no batch may have."""
        _check_id("ref", self.ref)
        _check_id("sku", self.sku)
        _check_qty(self.qty, least=1)


@values.value
class Allocate:
    """Pick a batch of `sku` for `qty` pieces of order `orderid`."""

    orderid: str
    sku: str
    qty: int

    def __post_init__(self) -> None:
        """Refuse values that no order line may have."""
        _check_id("orderid", self.orderid)
        _check_id("sku", self.sku)
        _check_qty(self.qty, least=1)


@values.value
class ChangeBatchQuantity:
    """Set the purchased quantity of batch `ref` to `qty`; `sku` where the sender knows it."""

    ref: str
    qty: int
    sku: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that no batch may be given."""
        _check_id("batchref", self.ref)
        _check_qty(self.qty, least=0)
        if self.sku is not None:
            _check_id("sku", self.sku)


Command = CreateBatch | Allocate | ChangeBatchQuantity
