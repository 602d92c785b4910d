"""The database that was restored from a back-up: what is in it, and how its new incarnation begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy.dialects import postgresql

from allocation.adapters.postgres import audit_rows, engine, headers, occupancy, rebuilding, tables
from allocation.service_layer.operations.replay import restoring

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from allocation.service_layer.operations import audit
    from allocation.service_layer.operations.replay import journal_order

_NEWEST = sqlalchemy.select(sqlalchemy.func.max(tables.journal.c.number))


class RestoredDatabase(rebuilding.PostgresTarget):
    """See `restoring.Database`."""

    def check_unused(self) -> None:
        """Raise `CannotReplay` while somebody else works with it."""
        with engine.translated_errors(), self._database.connect() as connection:
            occupancy.check_unused(connection.connection.cursor())

    def journal(self) -> Mapping[int, journal_order.Row]:
        """Return the journal's rows by number."""
        return rebuilding.rows(self._database, besides=())

    def outbox(self) -> Sequence[restoring.Waiting]:
        """Return what is in the outbox."""
        table = tables.outbox
        columns = sqlalchemy.select(table.c.id, table.c.topic, table.c.key, table.c.headers)
        with engine.translated_errors(), self._database.connect() as connection:
            return [
                restoring.Waiting(id_, topic, restoring.identity(topic, key, headers.load(text)))
                for id_, topic, key, text in connection.execute(columns)
            ]

    def delete(self, ids: Collection[int]) -> None:
        """Delete rows of the outbox."""
        table = tables.outbox
        with engine.translated_errors(), self._database.begin() as connection:
            connection.execute(table.delete().where(table.c.id == sqlalchemy.func.any(list(ids))))

    def begin_incarnation(self, entry: audit.Entry, *, over: Collection[str]) -> None:
        """Begin a new incarnation after these and the last one, and write that into the audit."""
        instance = tables.instance.c
        ids = sqlalchemy.cast(sorted(over), postgresql.ARRAY(sqlalchemy.Uuid))
        change = tables.instance.update().values(
            earlier=sqlalchemy.func.array_append(instance.earlier.op("||")(ids), instance.incarnation),
            incarnation=sqlalchemy.func.gen_random_uuid(),
        )
        with engine.translated_errors(), self._database.begin() as connection:
            connection.execute(change)
            audit_rows.write(connection.connection.cursor(), [entry])


class Currency:
    """See `working.Currency`; looks at the number of the journal's last row on its topic."""

    def __init__(self, database: sqlalchemy.Engine, *, last_number: Callable[[], int | None]) -> None:
        self._database = database
        self._last_number = last_number
        self.is_doubtful = True
        sqlalchemy.event.listen(database, "invalidate", self._doubt)

    def check(self) -> None:
        """Doubt no more; raises `NotInitialised` when the topics are ahead, `DependencyDown`."""
        check_is_current(self._database, last_number=self._last_number())
        self.is_doubtful = False

    def _doubt(self, *_about: object) -> None:
        self.is_doubtful = True


def check_is_current(database: sqlalchemy.Engine, *, last_number: int | None) -> None:
    """Raise `NotInitialised` when the journal's topic, with this last row, is ahead of the database."""
    if last_number is None:
        return
    with engine.translated_errors(), database.connect() as connection:
        newest = connection.scalar(_NEWEST) or 0
    if newest < last_number:
        raise engine.NotInitialised(
            f"the database is older than its topics: its journal ends with row {newest}, the journal's topic with row "
            f"{last_number}. If it was restored from a back-up, run `allocation replay restore`"
        )
