"""Fold the batches, their quantities and the version numbers from the commands, in the journal's order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from allocation.domain import commands
from allocation.service_layer.operations.verify.findings import Check, Findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from allocation.service_layer.operations.verify import accounts, events, snapshot


@dataclass(slots=True)
class _Told:
    """A batch as the commands tell it."""

    created: commands.CreateBatch
    purchased: int


class Stock:
    """What the handled commands make of the stock; `changes` counts those of each sku."""

    def __init__(self, handled: Iterable[accounts.HandledCommand], *, findings: Findings) -> None:
        self._findings = findings
        self._batches: dict[str, _Told] = {}
        self.changes: Counter[str] = Counter()
        for one in sorted(handled, key=attrgetter("order")):
            if isinstance(one.command, commands.CreateBatch):
                self._create(one, one.command)
            elif isinstance(one.command, commands.ChangeBatchQuantity):
                self._change(one, one.command)

    def compare(self, batches: Mapping[str, snapshot.Batch]) -> None:
        """Compare with the batches in the database."""
        self._findings.compared[Check.STOCK] = len(batches.keys() | self._batches.keys())
        for reference, batch in batches.items():
            told = self._batches.get(reference)
            if told is None:
                self._add(reference, "is in the database, though no handled command created it")
                continue
            created = (told.created.sku, told.created.qty, told.created.eta)
            found = (batch.sku, batch.created_quantity, batch.eta)
            if created != found:
                self._add(reference, f"is {_as_text(*found)}; by its command it is {_as_text(*created)}")
            if batch.purchased != told.purchased:
                text = f"holds {batch.purchased} in the database, and {told.purchased} by the last command about it"
                self._add(reference, text)
        for reference in self._batches.keys() - batches.keys():
            self._add(reference, "was created by a handled command, but is not in the database")

    def _create(self, one: accounts.HandledCommand, command: commands.CreateBatch) -> None:
        known = self._batches.get(command.ref)
        if known is None:
            self._batches[command.ref] = _Told(command, command.qty)
            self.changes[command.sku] += 1
        elif known.created != command:
            text = f"{one.at} was handled, though the batch was created otherwise before"
            self._add(command.ref, text)

    def _change(self, one: accounts.HandledCommand, command: commands.ChangeBatchQuantity) -> None:
        known = self._batches.get(command.ref)
        if known is None:
            self._add(command.ref, f"{one.at} was handled, though no batch of this name was created before")
        elif known.purchased != command.qty:
            known.purchased = command.qty
            self.changes[known.created.sku] += 1

    def _add(self, reference: str, text: str) -> None:
        self._findings.add(Check.STOCK, f"batch {reference}", text)


def check_versions(
    products: Mapping[str, snapshot.Product],
    changes: Mapping[str, int],
    by_sku: Mapping[str, Sequence[events.Event]],
    *,
    findings: Findings,
) -> None:
    """See that each version number counts batches created, quantities changed, lines allocated and taken off."""
    findings.compared[Check.VERSIONS] = len(products)
    for sku in products.keys() | changes.keys():
        moved = sum(event.batchref is not None for event in by_sku.get(sku, ()))
        expected = changes.get(sku, 0) + moved
        found = products[sku].version_number if sku in products else 0
        if found != expected:
            text = f"has version {found}, and {expected} changes by commands and events"
            findings.add(Check.VERSIONS, sku, text)


def _as_text(sku: str, qty: int, eta: object) -> str:
    return f"{qty} of {sku}, {'in the warehouse' if eta is None else f'due on {eta}'}"
