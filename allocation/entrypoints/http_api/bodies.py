"""What the calls take, as JSON.

Types are strict here (`"3"` and `3.0` are no quantity); which values a command may have is for the
domain's own constructors to judge, so that no two places can disagree. Unknown keys are ignored.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any

import pydantic

from allocation.domain import commands

_FULL_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")

# For the OpenAPI document alone: the domain judges.
_NAME: dict[str, Any] = {"minLength": 1, "maxLength": commands.MAX_ID_BYTES}
_FROM_ONE: dict[str, Any] = {"minimum": 1, "maximum": commands.MAX_QTY}
_FROM_ZERO: dict[str, Any] = {"minimum": 0, "maximum": commands.MAX_QTY}


def _read_date(value: object) -> object:
    if value is None:
        return None
    if not (isinstance(value, str) and _FULL_DATE.fullmatch(value)):
        msg = "must be an ISO date such as 2030-01-31, or null for stock in the warehouse"
        raise ValueError(msg)
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        msg = f"{value} is no day of the calendar"
        raise ValueError(msg) from error


Name = Annotated[str, pydantic.Field(json_schema_extra=_NAME)]
Eta = Annotated[date | None, pydantic.BeforeValidator(_read_date, json_schema_input_type=date | None)]


class Body(pydantic.BaseModel):
    """A call's body."""

    model_config = pydantic.ConfigDict(strict=True, extra="ignore", frozen=True)


class NewBatch(Body):
    """A batch of stock; without `eta` it is in the warehouse."""

    ref: Name
    sku: Name
    qty: Annotated[int, pydantic.Field(json_schema_extra=_FROM_ONE)]
    eta: Eta = None

    def command(self) -> commands.CreateBatch:
        """Return the command; raises `Refusal` for values that no batch may have."""
        return commands.CreateBatch(self.ref, self.sku, self.qty, self.eta)


class NewLine(Body):
    """An order line that needs stock."""

    orderid: Name
    sku: Name
    qty: Annotated[int, pydantic.Field(json_schema_extra=_FROM_ONE)]

    def command(self) -> commands.Allocate:
        """Return the command; raises `Refusal` for values that no order line may have."""
        return commands.Allocate(self.orderid, self.sku, self.qty)


class NewQuantity(Body):
    """The purchased quantity that a batch turned out to have; `sku` where the caller knows it."""

    batchref: Name
    qty: Annotated[int, pydantic.Field(json_schema_extra=_FROM_ZERO)]
    sku: Name | None = None

    def command(self) -> commands.ChangeBatchQuantity:
        """Return the command; raises `Refusal` for values that no batch may be given."""
        return commands.ChangeBatchQuantity(self.batchref, self.qty, self.sku)
