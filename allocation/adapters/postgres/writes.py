"""What a unit of work changes, sent to the server as one statement.

Each statement takes a tenth of a millisecond on its way there and back, whatever it does: for a single command that
was more than all that the server does. So changes are collected, and become parts of one (`WITH`) that also returns
how many rows each has changed. All parts see the rows as they were before, in no order: no two may touch the same row.
Many rows go by COPY, which costs less for each.

Source: PostgreSQL manual, "Data-Modifying Statements in WITH".
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy.dialects import postgresql

from allocation.adapters.postgres import arrays, copying, tables
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Sequence

_DIALECT: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
_MANY = 20  # rows from which on COPY costs less


class _Part(NamedTuple):
    statement: str
    values: Sequence[object]
    rows: int | None
    otherwise: str


class Writes:
    """The changes of one unit of work."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._parts: list[_Part] = []
        self._copies: list[tuple[str, Sequence[str], Sequence[Sequence[object]]]] = []

    def at_once(self, statement: str, values: Sequence[object]) -> None:
        """Send a statement now, since a part touches what it touches."""
        self._cursor.execute(statement, values)

    def change(self, statement: str, values: Sequence[object], *, rows: int | None = None, otherwise: str = "") -> None:
        """Add a statement without RETURNING; if `rows` are named it must change so many, `otherwise` says why not."""
        self._parts.append(_Part(statement, values, rows, otherwise))

    def insert(self, table: str, columns: Sequence[str], values: Sequence[Sequence[object]]) -> None:
        """Add rows, given as the values of each column."""
        if len(values[0]) >= _MANY:
            self._copies.append((table, columns, values))
            return
        self.change(_insert(table, tuple(columns)), [arrays.of_values(column) for column in values])

    def send(self, last: str | None = None, values: Sequence[object] = ()) -> Any:
        """Send all; a last statement may be added that returns a value by its RETURNING.

        Raises `Retryable` when a part has not changed the rows that it must.
        """
        parts, self._parts = self._parts, []
        copies, self._copies = self._copies, []
        value = self._send_at_once(parts, last, values) if parts or last is not None else None
        for copy in copies:
            copying.copy_columns(self._cursor, *copy)
        return value

    def _send_at_once(self, parts: Sequence[_Part], last: str | None, values: Sequence[object]) -> Any:
        self._cursor.execute(_joined(parts, last), [*(value for part in parts for value in part.values), *values])
        found = list(self._cursor.fetchone())
        value = None if last is None else found.pop(0)
        for part, count in zip(parts, found, strict=True):
            if part.rows not in {None, count}:
                raise ports.Retryable(part.otherwise)
        return value


@functools.cache
def _insert(table: str, columns: tuple[str, ...]) -> str:
    """Return a statement that takes an array for each column, so that it is the same for any number of rows."""
    types = [tables.metadata.tables[table].c[column].type.compile(_DIALECT) for column in columns]
    kinds = [kind.partition(" COLLATE ")[0] for kind in types]
    names = ", ".join(f'"{column}"' for column in columns)
    return f"INSERT INTO {table} ({names}) SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in kinds)})"  # noqa: S608 - constants


def _joined(parts: Sequence[_Part], last: str | None) -> str:
    named = ", ".join(f"part_{number} AS ({part.statement} RETURNING 1)" for number, part in enumerate(parts))
    counts = [f"(SELECT count(*) FROM part_{number})" for number in range(len(parts))]  # noqa: S608 - constants
    returned = f"SELECT {', '.join(counts)}" if last is None else ", ".join([last, *counts])
    return f"WITH {named} {returned}" if parts else returned
