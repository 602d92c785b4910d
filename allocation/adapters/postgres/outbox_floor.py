"""Below which id the outbox has no row any more, and never will: there the relay begins to read.

While a snapshot is open somewhere in the database, rows that were deleted stay, and a scan from the beginning meets
all of them each time. But ids commit out of order: a row may still come that is lower than all that are there.

What makes a floor safe: ids are drawn one by one (`CACHE 1`), so once an id was seen, all lower ones are drawn as
well. Whoever draws an id has locked the table before (ROW EXCLUSIVE, as every INSERT and COPY does), until the
transaction has ended and is seen by all. So when nobody holds that lock any more who held it after the id was seen, no
lower row can come. Those that are there bound the floor, quarantined ones included: they may be released.

Sources: PostgreSQL manual, "Table-Level Locks", `pg_locks`; `CommitTransaction` in xact.c (a transaction is seen as
ended before it gives up its locks).
"""

from __future__ import annotations

from typing import Any

# How many rows are sent until one looks again: what the scan may have to pass over.
STRIDE = 2000

# A prepared transaction has no process, and another name than before it was prepared: while there is one, nobody knows.
_WRITERS = """
SELECT virtualtransaction, pid IS NULL FROM pg_locks
WHERE locktype = 'relation' AND relation = 'outbox'::regclass AND mode = 'RowExclusiveLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_FIRST = "SELECT min(id) FROM outbox WHERE id >= %s"


class Floor:
    """Rises behind what was sent, for as long as nobody else sends or restores; from `id` on it must be read."""

    def __init__(self, cursor: Any) -> None:
        self.id = 0
        self._cursor = cursor  # each statement must see what was committed until it began
        self._sent = 0
        self._seen = 0
        self._writers: frozenset[str] = frozenset()

    def sent(self, rows: int, *, last: int) -> None:
        """Take notice that so many rows are deleted, among them `last`, and look sometimes how far to rise."""
        self._sent += rows
        if self._sent >= STRIDE:
            self._sent = 0
            self._rise(last)

    def _rise(self, last: int) -> None:
        self._cursor.execute(_WRITERS)
        found = self._cursor.fetchall()
        writers = frozenset(name for name, _ in found)
        if any(is_prepared for _, is_prepared in found) or writers & self._writers:
            return
        self._cursor.execute(_FIRST, (self.id,))
        (first,) = self._cursor.fetchone()
        self.id = self._seen + 1 if first is None else min(first, self._seen + 1)
        self._seen, self._writers = max(self._seen, last), writers
