"""Compare two databases batch by batch and line by line: the live one, and one rebuilt from the logs.

Both are read in the order of their keys, so that a difference is found in memory of a few rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from allocation.service_layer.operations.replay import rebuilding_ports as ports

Key = tuple[str | int, ...]
_NOWHERE = "is not there"


class Row(NamedTuple):
    """A row of a table: its key, and the other columns by name."""

    key: Key
    values: Mapping[str, object]


class Difference(NamedTuple):
    """What one row is in either database, in words."""

    subject: str
    live: str
    rebuilt: str

    def __str__(self) -> str:
        return f"{self.subject}: live {self.live}; rebuilt {self.rebuilt}"


class Side(Protocol):
    """One of the two databases, as of one moment."""

    @property
    def tables(self) -> Mapping[str, int]:
        """The tables to be compared, and how many rows each has."""

    def rows(self, table: str) -> Iterator[Row]:
        """Yield the rows of a table in the order of their keys."""

    def journal_numbers(self) -> frozenset[int]:
        """Return the numbers of the journal's rows."""


@dataclass(slots=True)
class Comparison:
    """How many rows were compared, how many differ, and the first of those.

    `behind` counts the journal's rows that the live database has beyond the rebuilt one.
    """

    compared: int = 0
    count: int = 0
    differences: list[Difference] = field(default_factory=list)
    behind: int = 0


def compare(live: Side, rebuilt: Side, *, keep: int, on_progress: ports.Progress) -> Comparison:
    """Compare all tables; `keep` differences are told in full."""
    numbers = rebuilt.journal_numbers()
    newest = max(numbers, default=0)
    result = Comparison(behind=sum(number > newest for number in live.journal_numbers()))
    total = sum(live.tables.values())
    for table in live.tables:
        for one, other in _pairs(live.rows(table), rebuilt.rows(table)):
            result.compared += 1
            if one != other:
                result.count += 1
                if len(result.differences) < keep:
                    result.differences.append(_difference(table, one, other))
            if result.compared % 1000 == 0:
                on_progress("comparing", result.compared, max(total, result.compared))
    return result


def _pairs(ones: Iterator[Row], others: Iterator[Row]) -> Iterator[tuple[Row | None, Row | None]]:
    """Yield rows of one key together; a row without its like comes alone."""
    one, other = next(ones, None), next(others, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.key < other.key):
            yield one, None
            one = next(ones, None)
        elif one is None or other.key < one.key:
            yield None, other
            other = next(others, None)
        else:
            yield one, other
            one, other = next(ones, None), next(others, None)


def _difference(table: str, one: Row | None, other: Row | None) -> Difference:
    key = (one or other or Row((), {})).key
    if one is None or other is None:
        return Difference(_subject(table, key), _told(one), _told(other))
    names = [name for name, value in one.values.items() if other.values.get(name) != value]
    return Difference(_subject(table, key), _told(one, names), _told(other, names))


def _told(row: Row | None, names: list[str] | None = None) -> str:
    if row is None:
        return _NOWHERE
    return ", ".join(f"{name} {row.values[name]}" for name in (names or row.values))


def _subject(table: str, key: Key) -> str:
    match table, key:
        case "order_lines", (orderid, sku, qty):
            return f"order {orderid}, {qty} of {sku}"
        case "batches", (reference,):
            return f"batch {reference}"
        case _:
            return f"sku {key[0]}"
