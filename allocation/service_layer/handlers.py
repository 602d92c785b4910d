"""The use cases: one function for each command, any number for each event.

A handler refuses before it changes anything, so that a refused command can share a transaction with
those that go through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocation.domain import commands, events, model, refusal
from allocation.service_layer import external_events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from allocation.service_layer import unit_of_work


class NotYetKnown(refusal.Refusal):
    """The command names something that a `CreateBatch` on another topic may still create."""


class InvalidSku(NotYetKnown):
    """No batch of this sku was ever created."""

    reason = "invalid_sku"


class UnknownBatch(NotYetKnown):
    """No batch has this reference."""

    reason = "unknown_batch"


def create_batch(command: commands.CreateBatch, uow: unit_of_work.UnitOfWork) -> None:
    """Add a batch, and its product if new; the same batch again changes nothing."""
    owner = uow.products.get_by_batchref(command.ref)
    if owner is not None and owner.sku != command.sku:
        raise refusal.Conflict(f"batch {command.ref} is of sku {owner.sku}, not of {command.sku}")
    product = owner or uow.products.get(command.sku)
    if product is None:
        product = model.Product(command.sku, [])
        uow.products.add(product)
    product.add_batch(model.Batch(command.ref, command.sku, command.qty, command.eta))


def allocate(command: commands.Allocate, uow: unit_of_work.UnitOfWork) -> str | None:
    """Allocate a line and return the batch's reference, None when it is out of stock."""
    product = uow.products.get(command.sku)
    if product is None:
        raise InvalidSku(f"Invalid sku {command.sku}")
    return product.allocate(model.OrderLine(command.orderid, command.sku, command.qty))


def change_batch_quantity(command: commands.ChangeBatchQuantity, uow: unit_of_work.UnitOfWork) -> None:
    """Set a batch's quantity; lines that no longer fit are allocated again."""
    product = uow.products.get_by_batchref(command.ref)
    if product is None:
        raise UnknownBatch(f"Unknown batch {command.ref}")
    if command.sku is not None and command.sku != product.sku:
        raise refusal.Conflict(f"batch {command.ref} is of sku {product.sku}, not of {command.sku}")
    product.change_batch_quantity(command.ref, command.qty)


def announce_allocated(event: events.Allocated, uow: unit_of_work.UnitOfWork) -> None:
    """Tell the outside that a line got a batch."""
    uow.announce(external_events.LineAllocated(event.orderid, event.sku, event.qty, event.batchref))


def announce_deallocated(event: events.Deallocated, uow: unit_of_work.UnitOfWork) -> None:
    """Tell the outside that a line lost its batch."""
    uow.announce(external_events.LineDeallocated(event.orderid, event.sku, event.qty, event.batchref))


def announce_out_of_stock(event: events.OutOfStock, uow: unit_of_work.UnitOfWork) -> None:
    """Tell the outside, and so the buying team, that a line found no room."""
    uow.announce(external_events.OutOfStock(event.sku, event.orderid, event.qty))


COMMAND_HANDLERS: Mapping[type, Callable[[Any, unit_of_work.UnitOfWork], str | None]] = {
    commands.CreateBatch: create_batch,
    commands.Allocate: allocate,
    commands.ChangeBatchQuantity: change_batch_quantity,
}

EVENT_HANDLERS: Mapping[type, tuple[Callable[[Any, unit_of_work.UnitOfWork], None], ...]] = {
    events.Allocated: (announce_allocated,),
    events.Deallocated: (announce_deallocated,),
    events.OutOfStock: (announce_out_of_stock,),
}
