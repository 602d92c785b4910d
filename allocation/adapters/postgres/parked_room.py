"""Parked commands as an operator looks at them, outside of any unit of work."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import engine, parked
from allocation.service_layer.operations import parked as operation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy

    from allocation.service_layer import unit_of_work


class PostgresParkedRoom:
    """See `operations.parked.Room`; each method is a transaction of its own."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        self._database = database

    def head(self, queue: str, *, limit: int) -> Sequence[unit_of_work.ParkedCommand]:
        """Return the oldest commands of a queue, and its first poisoned one wherever that stands."""
        with self._cursor() as cursor:
            return parked.head(cursor, queue, limit=limit)

    def find(self, wanted: operation.Filter, *, limit: int | None) -> Sequence[operation.Listed]:
        """Return parked commands, the oldest first."""
        with self._cursor() as cursor:
            rows = parked.listed(cursor, ids=wanted.ids, queues=wanted.queues, states=wanted.states, limit=limit)
            return [operation.Listed(*row) for row in rows]

    @contextlib.contextmanager
    def _cursor(self) -> Iterator[Any]:
        with engine.translated_errors(), self._database.connect() as connection:
            yield connection.connection.cursor()
