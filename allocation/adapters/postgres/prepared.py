"""A cursor whose statements the server plans once for each connection, and not each time.

For a micro-batch of a single command, planning was a third of all that the server did. For thousands it is nothing, and
a plan that was made for a table of ten rows would be their ruin: those are planned each time. What is prepared belongs
to the session, which a pooler must leave to its client until that ends.

Sources: PostgreSQL manual, PREPARE; `plan_cache_mode`.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg2.errors

if TYPE_CHECKING:
    from collections.abc import Iterator

Values = Sequence[object] | Mapping[str, object]  # for `%s`, or for `%(name)s` in the order of the first

# Statements that a connection keeps, a dozen for each path through the worker; others are sent as they are.
_MOST = 200
# A plan is that for tables as large as they were, and they grow.
_PLANS_LAST_S = 5.0
# Nobody else's: a session that comes from a pooler may have what another process has prepared.
_PREFIX = f"s{secrets.token_hex(6)}"
_serial = itertools.count()
# The session is another one, or was emptied; or a column has another type than it had.
_NOT_AS_PREPARED = (psycopg2.errors.InvalidSqlStatementName, psycopg2.errors.FeatureNotSupported)


@dataclass(slots=True)
class Prepared:
    """What a connection has prepared: names by statement, and when it was last told to plan anew."""

    names: dict[str, str] = field(default_factory=dict)
    planned_at: float = field(default_factory=time.monotonic)

    def planning_anew(self) -> str:
        """Return what is to be sent before the next statement: nothing, or that plans are to be made anew."""
        if time.monotonic() < self.planned_at + _PLANS_LAST_S:
            return ""
        self.planned_at = time.monotonic()
        return "DISCARD PLANS; "


class Cursor:
    """Takes the place of the driver's, with what its connection has prepared."""

    def __init__(self, cursor: Any, has: Prepared) -> None:
        self._cursor = cursor
        self._names = has.names
        self._ahead = ""
        self.reuses_plans = True
        self.connection = cursor.connection
        self.fetchone = cursor.fetchone
        self.fetchall = cursor.fetchall

    @property
    def rowcount(self) -> int:
        """How many rows the last statement has returned or changed."""
        return int(self._cursor.rowcount)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)

    def precede(self, ahead: str) -> None:
        """Send this with the next statement, ahead of it."""
        self._ahead = f"{ahead}; "

    def execute(self, statement: str, values: Values = (), *, then: str = "") -> None:
        """Execute a statement, and another in the same trip if it succeeds; one without values is sent as it is."""
        self._send("; ".join(filter(None, (self._call(statement, values), then))), values)

    def execute_in_turn(self, statements: Sequence[str], values: Sequence[object]) -> None:
        """Execute statements that all take these values, each seeing what was committed when it began."""
        calls = [self._call(statement, values) for statement in statements]
        self._send("; ".join(calls), [*values] * len(statements))

    def copy_expert(self, *copy: Any) -> None:
        """Copy rows in, as the driver's cursor does."""
        if self._ahead:
            self._send("", ())
        self._cursor.copy_expert(*copy)

    def _send(self, text: str, values: Values) -> None:
        try:
            self._cursor.execute(self._ahead + text, values)
        except psycopg2.Error as error:
            self._ahead = ""  # any other error is the driver's own, before it has sent anything
            if isinstance(error, _NOT_AS_PREPARED):
                self._names.clear()
            raise
        self._ahead = ""

    def _call(self, statement: str, values: Values) -> str:
        name = self._names.get(statement) if self.reuses_plans else None
        if name is None:
            if not values or not self.reuses_plans or len(self._names) == _MOST:
                return statement
            name = f"{_PREFIX}_{next(_serial)}"
            self._cursor.execute(f"PREPARE {name} AS {statement % _numbers(values)}")
            self._names[statement] = name
        places = [f"%({key})s" for key in values] if isinstance(values, Mapping) else ["%s"] * len(values)
        return f"EXECUTE {name} ({', '.join(places)})"


def _numbers(values: Values) -> object:
    """Return what stands in a prepared statement instead of these values."""
    numbers = [f"${number}" for number in range(1, len(values) + 1)]
    return dict(zip(values, numbers, strict=True)) if isinstance(values, Mapping) else tuple(numbers)
