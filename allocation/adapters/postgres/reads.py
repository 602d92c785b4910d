"""What a unit of work reads of all that was claimed, asked for as one statement.

The counterpart of `writes`: a trip to the server costs a tenth of a millisecond, whatever is asked. The parts stand
side by side in one wide row, of which a full join on nothing fills one part and leaves the others null; all of them see
the same moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from allocation.adapters.postgres import prepared

Rows = list[tuple[Any, ...]]


class _Part(NamedTuple):
    statement: str
    values: Sequence[object]
    columns: int
    take: Callable[[Rows], None]


class Reads:
    """What is to be asked; used once."""

    def __init__(self, cursor: prepared.Cursor) -> None:
        self._cursor = cursor
        self._parts: list[_Part] = []
        self._named: list[tuple[str, str, Sequence[object]]] = []

    def name(self, name: str, statement: str, values: Sequence[object]) -> None:
        """Let parts look under this name into what a statement finds."""
        self._named.append((name, statement, values))

    def add(self, statement: str, values: Sequence[object], *, columns: int, take: Callable[[Rows], None]) -> None:
        """Ask this, too; its rows, in no order, have so many columns, of which the first is never null."""
        self._parts.append(_Part(statement, values, columns, take))

    def send(self) -> None:
        """Ask for all, and hand each part its rows, in the order in which they were added."""
        values = [value for _, _, given in self._named for value in given]
        values += [value for part in self._parts for value in part.values]
        self._cursor.execute(self._joined(), values)
        for part, rows in zip(self._parts, self._split(self._cursor), strict=True):
            part.take(rows)

    def _joined(self) -> str:
        named = ", ".join(f"{name} AS MATERIALIZED ({statement})" for name, statement, _ in self._named)
        first, *others = (f"({part.statement}) AS part_{number}" for number, part in enumerate(self._parts))
        side_by_side = " ".join([first, *(f"FULL JOIN {other} ON false" for other in others)])
        return f"{f'WITH {named} ' if named else ''}SELECT * FROM {side_by_side}"  # noqa: S608 - constants

    def _split(self, rows: Iterable[tuple[Any, ...]]) -> list[Rows]:
        found: list[Rows] = [[] for _ in self._parts]
        places, begin = [], 0
        for part, mine in zip(self._parts, found, strict=True):
            places.append((begin, begin + part.columns, mine))
            begin += part.columns
        for row in rows:
            for begin, end, mine in places:
                if row[begin] is not None:
                    mine.append(row[begin:end])
                    break
        return found
