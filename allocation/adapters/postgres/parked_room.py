"""Parked commands as an operator looks at them, outside of any unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.postgres import engine, parked_rows
from allocation.service_layer.operations import parked as operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy

    from allocation.service_layer import unit_of_work

# The oldest of a queue, and its first poisoned command, which may stand far behind those that wait.
_HEAD = f"""
SELECT {parked_rows.FIELDS} FROM parked WHERE queue = %(queue)s AND id IN (
    (SELECT id FROM parked WHERE queue = %(queue)s ORDER BY id LIMIT %(limit)s)
    UNION (SELECT min(id) FROM parked WHERE queue = %(queue)s AND state = 'poisoned')
) ORDER BY id
"""  # noqa: S608 - constants
_LISTED = f"""
SELECT {parked_rows.FIELDS}, parked_at, extract(epoch FROM clock_timestamp() - parked_at)::float8 FROM parked
WHERE (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s)) AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
    AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s))
ORDER BY id LIMIT %(limit)s
"""  # noqa: S608 - constants


class PostgresParkedRoom:
    """See `operations.parked.Room`; each method is a transaction of its own."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        self._database = database

    def head(self, queue: str, *, limit: int) -> Sequence[unit_of_work.ParkedCommand]:
        """Return the oldest commands of a queue, and its first poisoned one wherever that stands."""
        with engine.cursor(self._database) as cursor:
            return parked_rows.read(cursor, _HEAD, {"queue": queue, "limit": limit})

    def find(self, wanted: operation.Filter, *, limit: int | None) -> Sequence[operation.Listed]:
        """Return parked commands, the oldest first; of the filter, what is empty does not matter."""
        given = {"ids": wanted.ids, "queues": wanted.queues, "states": wanted.states}
        with engine.cursor(self._database) as cursor:
            cursor.execute(_LISTED, {name: list(values) or None for name, values in given.items()} | {"limit": limit})
            return [operation.Listed(parked_rows.load(row), at, age_s) for *row, at, age_s in cursor]
