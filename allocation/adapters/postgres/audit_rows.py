"""The rows that say what operators changed; written in the transaction of the change, never changed themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy

from allocation.adapters.postgres import copying, engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from allocation.service_layer.operations import audit

_COLUMNS = ("who", "what", "subject", "why")
# The newest of those that are meant, in the order in which they were written.
_READ = sqlalchemy.text("""
SELECT * FROM (
    SELECT id, at, who, what, subject, why FROM audit
    WHERE at >= coalesce(:since, '-infinity'::timestamptz) ORDER BY id DESC LIMIT :limit
) AS newest ORDER BY id
""")


class Row(NamedTuple):
    """Who changed what, when and why."""

    id: int
    at: datetime
    who: str
    what: str
    subject: str
    why: str


def write(cursor: Any, entries: Iterable[audit.Entry]) -> None:
    """Add rows; the caller commits."""
    rows = [(entry.note.who, entry.what, entry.subject, entry.note.why) for entry in entries]
    copying.copy_in(cursor, "audit", _COLUMNS, rows)


class AuditLog:
    """Reads one database; raises `DependencyDown`."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        self._database = database

    def rows(self, *, since: datetime | None, limit: int | None) -> Sequence[Row]:
        """Return the rows from a time on, the oldest first; with a limit the newest of them."""
        with engine.reading(self._database) as connection:
            return [Row(*row) for row in connection.execute(_READ, {"since": since, "limit": limit})]
