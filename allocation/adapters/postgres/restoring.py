"""The database that was restored from a back-up: what is in it, and how its new incarnation begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy
from sqlalchemy.dialects import postgresql

from allocation.adapters.postgres import audit_rows, engine, headers, occupancy, rebuilding, tables
from allocation.service_layer.operations.replay import journal_order, restoring

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from allocation.service_layer.operations import audit

_NEWEST = sqlalchemy.select(sqlalchemy.func.max(tables.journal.c.number))


class RestoredDatabase(rebuilding.PostgresTarget):
    """See `restoring.Database`."""

    def check_unused(self) -> None:
        """Raise `CannotReplay` while somebody else works with it."""
        with engine.cursor(self._database) as cursor:
            occupancy.check_unused(cursor)

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
    """See `working.Currency`; looks at the last rows of the journal on its topic."""

    def __init__(
        self, database: sqlalchemy.Engine, *, last_rows: Callable[[], Mapping[int, journal_order.Row]]
    ) -> None:
        self._database = database
        self._last_rows = last_rows
        self.is_doubtful = True
        sqlalchemy.event.listen(database, "invalidate", self._doubt)

    def check(self) -> None:
        """Doubt no more; raises `NotInitialised` when the topics are ahead, `DependencyDown`."""
        check_is_current(self._database, last_rows=self._last_rows())
        self.is_doubtful = False

    def _doubt(self, *_about: object) -> None:
        self.is_doubtful = True


def check_is_current(database: sqlalchemy.Engine, *, last_rows: Mapping[int, journal_order.Row]) -> None:
    """Raise `NotInitialised` when the database lacks one of the last rows on the journal's topic.

    Their numbers commit out of order: the highest alone does not tell.
    """
    numbers = tables.journal.c.number
    with engine.translated_errors(), database.connect() as connection:
        has = connection.scalars(sqlalchemy.select(numbers).where(numbers.in_(last_rows)))
        known = journal_order.Known(frozenset(has), connection.scalar(rebuilding.PRUNED_BEFORE))
        newest = connection.scalar(_NEWEST) or 0
    lacking = journal_order.lacking(last_rows, known)
    if lacking:
        raise engine.NotInitialised(
            f"the database is older than its topics: row {lacking[-1].number} of the journal lies on its topic, and is "
            f"not among those of the database, which go up to {newest}. If it was restored from a back-up, run "
            "`allocation replay restore`"
        )
