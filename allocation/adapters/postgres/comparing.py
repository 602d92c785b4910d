"""What a rebuild is compared by: the rows of the business tables, in the order of their keys, as of one moment.

One read-only transaction at REPEATABLE READ, read by a cursor on the server. Source: PostgreSQL manual, DECLARE.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import sqlalchemy

from allocation.adapters.postgres import engine, tables
from allocation.service_layer.operations.replay import comparing

if TYPE_CHECKING:
    from collections.abc import Iterator

# A hundred million rows take some minutes; only a worker's transaction must be short.
_LONG = engine.lasting("1h")
_BEGIN = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_ROWS_AT_ONCE = 5000
_COMPARED = (tables.products, tables.batches, tables.order_lines)


class PostgresSide:
    """See `comparing.Side`."""

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        self._connection = connection
        self.tables = {table.name: self._count(table) for table in _COMPARED}

    def rows(self, table: str) -> Iterator[comparing.Row]:
        """Yield the rows of a table in the order of their keys."""
        found = tables.metadata.tables[table]
        key = [column.name for column in found.primary_key]
        others = [column.name for column in found.columns if column.name not in key]
        query = found.select().order_by(*found.primary_key)
        with engine.translated_errors():
            result = self._connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(query)
            for row in result.mappings():
                yield comparing.Row(tuple(row[name] for name in key), {name: row[name] for name in others})

    def journal_numbers(self) -> frozenset[int]:
        """Return the numbers of the journal's rows."""
        with engine.translated_errors():
            return frozenset(self._connection.scalars(sqlalchemy.select(tables.journal.c.number)))

    def _count(self, table: sqlalchemy.Table) -> int:
        count = sqlalchemy.select(sqlalchemy.func.count()).select_from(table)
        return self._connection.execute(count).scalar_one()


@contextlib.contextmanager
def side(database: sqlalchemy.Engine) -> Iterator[PostgresSide]:
    """Open a database as of now."""
    with engine.translated_errors(), database.connect() as connection:
        connection.exec_driver_sql(_BEGIN)
        connection.exec_driver_sql(_LONG)
        yield PostgresSide(connection)
