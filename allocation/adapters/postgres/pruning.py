"""Delete old rows in small pieces, on tables that are in use.

No table is divided by day: the identity of a message must be unique across midnight, and a unique key of a
divided table holds within a part only. No index by age either, which every message would pay for: a table is
read page after page, as it lies on the disk. A row that somebody has locked stays until the next time.

Sources: PostgreSQL manual, TID range scans; The Locking Clause (SKIP LOCKED).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.postgres import engine

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import sqlalchemy

# What may go. The journal's last row stays: it tells how far the table and its topic have come.
_MAY_GO = {
    "inbox": "handled_at < %(before)s AND outcome <> 'waiting'",
    "journal": "handled_at < %(before)s AND number < (SELECT max(number) FROM journal)",
    "audit": "at < %(before)s",
    # A name that leads nowhere; whoever needs its row again makes it.
    "locks": """
        NOT EXISTS (SELECT FROM products WHERE sku = substr(name, 5) AND name LIKE 'sku:%%')
        AND NOT EXISTS (SELECT FROM batches WHERE reference = substr(name, 5) AND name LIKE 'ref:%%')
        AND NOT EXISTS (SELECT FROM parked WHERE queue = name)
        AND NOT EXISTS (SELECT FROM parked WHERE batchref = substr(name, 5) AND name LIKE 'ref:%%')
    """,
    # The dead letter is on its topic no more.
    "dead_letter_decisions": """
        topic_id <> %(topic_id)s OR "offset" < (%(begins)s::bigint[])[partition + 1]
    """,
}
_ON_PAGES = "ctid >= ('(' || %(first)s || ',0)')::tid AND ctid < ('(' || %(end)s || ',0)')::tid"
# The condition stands there twice: a row that was changed while it was waited for is looked at again.
_PRUNE = """
DELETE FROM {name} WHERE ({may_go}) AND ctid = ANY (ARRAY(
    SELECT ctid FROM {name} WHERE {on_pages} AND ({may_go}) FOR UPDATE SKIP LOCKED
))
"""
_COUNT = "SELECT count(*) FROM {name} WHERE {on_pages} AND ({may_go})"
_PAGES = "SELECT pg_relation_size(%s::regclass) / current_setting('block_size')::int"
_CUTOFF = "SELECT clock_timestamp() - make_interval(secs => %s)"
_NOTE = """
INSERT INTO prunings AS p (name, before) VALUES (%s, %s)
ON CONFLICT (name) DO UPDATE SET before = greatest(p.before, excluded.before)
"""


class PostgresRows:
    """See `maintenance.Rows`."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        self._database = database

    def cutoff(self, age_s: float) -> datetime:
        """Return when it was so many seconds ago by the database's clock."""
        with engine.reading(self._database) as connection:
            found: datetime = connection.exec_driver_sql(_CUTOFF, (age_s,)).scalar_one()
            return found

    def note(self, name: str, before: datetime) -> None:
        """Note that rows of a table that are older may be missing from now on."""
        with engine.reading(self._database) as connection:
            connection.exec_driver_sql(_NOTE, (name, before))

    def pages(self, name: str) -> int:
        """Return how many pages a table has."""
        with engine.reading(self._database) as connection:
            return int(connection.exec_driver_sql(_PAGES, (name,)).scalar_one())

    def prune(self, name: str, pages: range, given: Mapping[str, object]) -> int:
        """Delete what is to go on these pages, except what somebody holds; return how many rows."""
        with engine.reading(self._database) as connection:
            return connection.exec_driver_sql(_statement(_PRUNE, name), _values(pages, given)).rowcount

    def count(self, name: str, pages: range, given: Mapping[str, object]) -> int:
        """Return how many rows would be deleted."""
        with engine.reading(self._database) as connection:
            return int(connection.exec_driver_sql(_statement(_COUNT, name), _values(pages, given)).scalar_one())


def _statement(template: str, name: str) -> str:
    return template.format(name=name, may_go=_MAY_GO[name], on_pages=_ON_PAGES)


def _values(pages: range, given: Mapping[str, object]) -> dict[str, object]:
    return {**given, "first": pages.start, "end": pages.stop}
