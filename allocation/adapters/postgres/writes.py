"""What a unit of work changes, sent to the server as one statement.

Each statement takes a tenth of a millisecond on its way there and back, whatever it does: for a single command that
was more than all that the server does. So changes are collected, and become parts of one (`WITH`) that also looks how
many rows each has changed, and so can be followed by the commit in the same trip. All parts see the rows as they were
before, in no order: no two may touch the same row. Many rows go by COPY, which costs less for each.

Source: PostgreSQL manual, "Data-Modifying Statements in WITH".
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2.errors
from sqlalchemy.dialects import postgresql

from allocation.adapters.postgres import arrays, copying, tables
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.adapters.postgres import prepared

_DIALECT: Any = postgresql.dialect()  # type: ignore[no-untyped-call]
_MANY = 20  # rows from which on COPY costs less
_CHECK = "CASE WHEN {count} = %s THEN 0 ELSE (%s::text || ': ' || {count} || ' rows')::int END"


class _Part(NamedTuple):
    name: str
    statement: str
    values: Sequence[object]
    rows: int | None
    otherwise: str


class Selected(NamedTuple):
    """A statement that finds rows to be inserted, and its values."""

    statement: str
    values: Sequence[object]


class Writes:
    """The changes of one unit of work."""

    def __init__(self, cursor: prepared.Cursor) -> None:
        self._cursor = cursor
        self._parts: list[_Part] = []
        self._copies: list[tuple[str, Sequence[str], Sequence[Sequence[object]]]] = []

    def at_once(self, statement: str, values: Sequence[object]) -> None:
        """Send a statement now, since a part touches what it touches."""
        self._cursor.execute(statement, values)

    def change(self, statement: str, values: Sequence[object], *, rows: int | None = None, otherwise: str = "") -> None:
        """Add a statement without RETURNING; if `rows` are named it must change so many, `otherwise` says why not."""
        name = f"part_{len(self._parts)}"
        self._parts.append(_Part(name, f"{statement} RETURNING 1", values, rows, otherwise))

    def name(self, name: str, statement: str, values: Sequence[object]) -> None:
        """Add a statement, and let others look under this name into what it returns."""
        self._parts.append(_Part(name, statement, values, None, ""))

    def insert(
        self, table: str, columns: Sequence[str], values: Sequence[Sequence[object]], *, first: Selected | None = None
    ) -> None:
        """Add rows in their order, given as the values of each column; before them, those that are selected."""
        are_many = bool(values) and len(values[0]) >= _MANY
        if are_many:
            self._copies.append((table, columns, values))
        given = [] if are_many else [arrays.of_values(column) for column in values]
        if first is not None:
            statement = _insert(table, tuple(columns), first=first.statement, has_more=bool(given))
            self.change(statement, [*first.values, *given])
        elif given:
            self.change(_insert(table, tuple(columns)), given)

    def send_many(self) -> None:
        """Send what is too much for one statement, and before it all else; raises `Retryable` as `finish` does."""
        if self._copies and self._parts:
            self._send()
        copies, self._copies = self._copies, []
        for copy in copies:
            copying.copy_columns(self._cursor, *copy)

    def finish(self, then: str) -> None:
        """Send what is left, and what is to be done then, but only if each part has changed the rows that it must.

        Raises `Retryable` when one has not.
        """
        if self._parts:
            self._send(then=then)
        else:
            self._cursor.execute(then)

    def _send(self, *, then: str = "") -> None:
        parts, self._parts = self._parts, []
        values = [value for part in parts for value in part.values]
        values += [value for part in parts if part.rows is not None for value in (part.rows, part.otherwise)]
        try:
            self._cursor.execute(_joined(parts), values, then=then)
        except psycopg2.errors.InvalidTextRepresentation as error:
            reasons = [part.otherwise for part in parts if part.otherwise and part.otherwise in str(error)]
            if not reasons:
                raise
            raise ports.Retryable(reasons[0]) from error


@functools.cache
def _insert(table: str, columns: tuple[str, ...], *, first: str = "", has_more: bool = True) -> str:
    """Return a statement that takes an array for each column, so that it is the same for any number of rows."""
    types = [tables.metadata.tables[table].c[column].type.compile(_DIALECT) for column in columns]
    kinds = [kind.partition(" COLLATE ")[0] for kind in types]
    names = ", ".join(f'"{column}"' for column in columns)
    given = f"SELECT * FROM unnest({', '.join(f'%s::{kind}[]' for kind in kinds)})"  # noqa: S608 - constants
    sources = " UNION ALL ".join(filter(None, (first, given if has_more else "")))
    return f"INSERT INTO {table} ({names}) {sources}"


def _joined(parts: Sequence[_Part]) -> str:
    """Return all as one statement, which fails with a part's reason when that has changed other rows than it must.

    A reason that is taken for a number is the one way of SQL to fail with a text of one's own.
    """
    named = ", ".join(f"{part.name} AS ({part.statement})" for part in parts)
    checks = [_CHECK.format(count=f"(SELECT count(*) FROM {part.name})") for part in parts if part.rows is not None]  # noqa: S608 - constants
    return f"WITH {named} SELECT {', '.join(checks) or '1'}"
