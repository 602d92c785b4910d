"""The real order lines, and the stock that is derived from them."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

_FILE = Path(__file__).with_name("data") / "online_retail_orders.csv"

SHORT_EVERY = 10  # each tenth SKU, by name, is short
SHORT_PERCENT = 60  # of what is ordered of it is bought, and one piece at least: an unknown SKU is another story
ETA_DAYS = 30


class OrderLine(NamedTuple):
    """A line as it stands in the file; `id` names the command that asks for it."""

    id: str
    orderid: str
    sku: str
    qty: int

    @property
    def content(self) -> tuple[str, str, int]:
        """What makes two lines the same line."""
        return (self.orderid, self.sku, self.qty)

    def command(self) -> bytes:
        """Return the command as a line of JSON, as `allocation produce` takes it."""
        fields = {"type": "Allocate", "id": self.id, "orderid": self.orderid, "sku": self.sku, "qty": self.qty}
        return json.dumps(fields).encode()


class Batch(NamedTuple):
    """Stock to be bought; `eta` None: it is in the warehouse."""

    ref: str
    sku: str
    qty: int
    eta: date | None

    def command(self) -> bytes:
        """Return the command as a line of JSON, as `allocation produce` takes it."""
        fields = {"type": "CreateBatch", "id": f"stock-{self.ref}", "ref": self.ref, "sku": self.sku, "qty": self.qty}
        return json.dumps(fields | {"eta": self.eta and self.eta.isoformat()}).encode()


@dataclass(frozen=True, slots=True)
class Stock:
    """What is bought, and which SKUs are deliberately short."""

    batches: Sequence[Batch]
    short: frozenset[str]


def read(limit: int | None = None) -> list[OrderLine]:
    """Return the lines of the file, the first `limit` of them, in its order."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))[:limit]
    return [
        OrderLine(f"line-{number:05}", row["invoice_no"], row["stock_code"], int(row["quantity"]))
        for number, row in enumerate(rows, start=1)
    ]


def stock_for(lines: Sequence[OrderLine], *, today: date) -> Stock:
    """Buy what is ordered of each SKU, a repeated line counted once; less of each tenth one.

    Half is in the warehouse, the rest arrives later. Since a line is never split, the rest is larger by
    one piece less than the largest line, so that no line falls between the two.
    """
    ordered: Counter[str] = Counter()
    largest: dict[str, int] = defaultdict(int)
    for _, sku, qty in {line.content for line in lines if line.qty > 0}:
        ordered[sku] += qty
        largest[sku] = max(largest[sku], qty)
    short = frozenset(sorted(ordered)[SHORT_EVERY - 1 :: SHORT_EVERY])
    return Stock([*_batches(ordered, largest, short, today + timedelta(days=ETA_DAYS))], short)


def _batches(
    ordered: Mapping[str, int], largest: Mapping[str, int], short: frozenset[str], eta: date
) -> Iterator[Batch]:
    for sku, total in sorted(ordered.items()):
        bought = max(total * SHORT_PERCENT // 100, 1) if sku in short else total + largest[sku] - 1
        in_warehouse = min((total + 1) // 2, bought)
        for name, qty, arrives in (("warehouse", in_warehouse, None), ("ship", bought - in_warehouse, eta)):
            if qty:
                yield Batch(f"{name}-{sku}", sku, qty, arrives)
