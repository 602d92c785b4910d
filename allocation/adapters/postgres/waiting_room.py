"""What is known of waiting commands and positions outside of any unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.postgres import arrays, engine, leases, parked_rows, positions
from allocation.service_layer import brakes

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    import sqlalchemy

    from allocation.service_layer import messages, unit_of_work

# Only what stands first in its queue: what is behind a poisoned command stays overdue, and would fill the limit.
_OVERDUE = f"""
SELECT {parked_rows.FIELDS} FROM parked AS one WHERE expires_at <= %s
    AND NOT EXISTS (SELECT FROM parked AS before WHERE before.queue = one.queue AND before.id < one.id)
ORDER BY id LIMIT %s
"""  # noqa: S608 - constants
_CREATIONS = f"""
SELECT {parked_rows.FIELDS} FROM unnest(%s::text[]) AS wanted (name) CROSS JOIN LATERAL (
    SELECT * FROM parked WHERE queue = wanted.name AND {parked_rows.LANDMARK} ORDER BY queue, id LIMIT 1
) AS landmark
WHERE state <> 'poisoned'
"""  # noqa: S608 - constants
_OUTBOX_ROWS = "SELECT count(*) FROM (SELECT FROM outbox LIMIT %s) AS waiting"
_BRAKES = f"""
SELECT ({_OUTBOX_ROWS}), (SELECT owner FROM leases WHERE name = %s AND expires_at > clock_timestamp())
"""  # noqa: S608 - constants


class PostgresWaitingRoom:
    """See `grace.WaitingRoom`; each method is a short transaction of its own."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        self._database = database

    def now(self) -> datetime:
        """Return the database's time."""
        with engine.cursor(self._database) as cursor:
            cursor.execute("SELECT now()")
            (now,) = cursor.fetchone()
            return now  # type: ignore[no-any-return]

    def overdue(self, at: datetime, *, limit: int) -> Sequence[unit_of_work.ParkedCommand]:
        """Return the first commands of their queues whose grace ended by then, the oldest first."""
        with engine.cursor(self._database) as cursor:
            return parked_rows.read(cursor, _OVERDUE, (at, limit))

    def to_release(self, *, limit: int) -> Sequence[str]:
        """Return queues whose release is not finished, the oldest first."""
        with engine.cursor(self._database) as cursor:
            cursor.execute("SELECT queue FROM releases ORDER BY begun_at, queue LIMIT %s", (limit,))
            return [queue for (queue,) in cursor]

    def creations(self, queues: Collection[str]) -> Sequence[unit_of_work.ParkedCommand]:
        """Return the first `CreateBatch` of each queue, unless a poisoned command stands before it."""
        with engine.cursor(self._database) as cursor:
            return parked_rows.read(cursor, _CREATIONS, (arrays.texts(queues),))

    def positions(self) -> Mapping[messages.LogPartition, unit_of_work.Position]:
        """Return all positions."""
        with engine.cursor(self._database) as cursor:
            return positions.read_all(cursor)

    def next_offsets(self) -> Mapping[messages.LogPartition, int]:
        """Return how far each log is handled."""
        return {log: position.next_offset for log, position in self.positions().items()}

    def outbox_rows(self, at_most: int) -> int:
        """Count the rows that wait in the outbox, up to a number."""
        with engine.cursor(self._database) as cursor:
            cursor.execute(_OUTBOX_ROWS, (at_most,))
            (count,) = cursor.fetchone()
            return int(count)

    def brakes(self, at_most: int) -> brakes.Look:
        """Count likewise, and see whether there is an intermission."""
        with engine.cursor(self._database) as cursor:
            cursor.execute(_BRAKES, (at_most, leases.INTERMISSION))
            return brakes.Look(*cursor.fetchone())
