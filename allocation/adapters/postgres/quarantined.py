"""The outbox rows that Kafka refused, and those of their skus behind them, as an operator looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy

from allocation.adapters.postgres import audit_rows, engine, notifications, outbox_rows
from allocation.service_layer.operations import audit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_ROWS = sqlalchemy.text("""
SELECT id, topic, key, sku, coalesce(octet_length(value), 0) AS bytes, created_at, quarantined FROM outbox
WHERE quarantined IS NOT NULL ORDER BY id LIMIT :limit
""")
_HELD = "SELECT id FROM outbox WHERE quarantined IS NOT NULL AND id = ANY(%s)"


class Row(NamedTuple):
    """A row that is held back, and why; `size_bytes` is that of its value."""

    id: int
    topic: str
    key: str | None
    sku: str | None
    size_bytes: int
    created_at: datetime
    reason: str


class Released(NamedTuple):
    """How many rows go to Kafka; none if one of those named is not held back."""

    rows: int
    unknown: Sequence[int] = ()


class Quarantine:
    """Works on one database, also while the relay runs; raises `DependencyDown`."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        self._database = database

    def rows(self, *, limit: int | None) -> Sequence[Row]:
        """Return the rows that are held back, the oldest first."""
        with engine.reading(self._database) as connection:
            return [
                Row(
                    id=row.id,
                    topic=row.topic,
                    key=None if row.key is None else bytes(row.key).decode(errors="backslashreplace"),
                    sku=row.sku,
                    size_bytes=row.bytes,
                    created_at=row.created_at,
                    reason=row.quarantined,
                )
                for row in connection.execute(_ROWS, {"limit": limit})
            ]

    def release(self, ids: Sequence[int], note: audit.Note, *, dry_run: bool) -> Released:
        """Have these rows sent after all, each with those of its sku behind it."""
        with engine.translated_errors(), self._database.connect() as connection:
            cursor = connection.connection.cursor()
            cursor.execute(_HELD, (list(ids),))
            unknown = sorted(set(ids) - {row_id for (row_id,) in cursor.fetchall()})
            if unknown:
                return Released(0, unknown)
            count = 0
            for row_id in sorted(set(ids)):
                released = outbox_rows.release_within(cursor, row_id=row_id)
                count += released
                if released:  # otherwise it stood behind one of those before
                    subject = f"row {row_id} and those of its sku behind it: {released}"
                    audit_rows.write(cursor, [audit.Entry("outbox.released", subject, note)])
            cursor.execute(notifications.NOTIFY)
            if not dry_run:
                connection.connection.commit()
        return Released(count)
