"""What the database knows of an installation: positions, what waits in it, and who works on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy

from allocation.adapters.postgres import engine as postgres
from allocation.service_layer import messages
from allocation.service_layer.operations import maintenance, status

if TYPE_CHECKING:
    from collections.abc import Iterable

_POSITIONS = sqlalchemy.text("SELECT topic_id, partition, next_offset FROM positions")
_OUTBOX = sqlalchemy.text("""
SELECT quarantined IS NOT NULL AS state, count(*), extract(epoch FROM clock_timestamp() - min(created_at))::float8
FROM outbox GROUP BY 1
""")
_PARKED = sqlalchemy.text("""
SELECT state, count(*), extract(epoch FROM clock_timestamp() - min(parked_at))::float8 FROM parked GROUP BY 1
""")
_OWNERS = sqlalchemy.text("SELECT name, owner FROM leases WHERE expires_at > clock_timestamp() ORDER BY name")

_MAINTAINED = sqlalchemy.text("SELECT before FROM prunings WHERE name = :name")

# Vacuum leaves what a snapshot may still see. A prepared transaction belongs to no process; one that vacuums holds up
# nobody. What others' processes do is seen by members of `pg_read_all_stats` alone.
_OLDEST_TRANSACTION = sqlalchemy.text("""
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(began)), 0)::float8 FROM (
    SELECT xact_start AS began FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
        AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
    UNION ALL SELECT prepared FROM pg_prepared_xacts WHERE database = current_database()
) AS transactions
""")

_NOTHING = status.Backlog(0, None)


class DatabaseFigures:
    """Looks at one database; raises `DependencyDown`."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        self._database = database

    def __call__(self) -> status.DatabaseFigures:
        """Return all figures; raises `NotInitialised` where there are no tables of this version."""
        with postgres.reading(self._database) as connection:
            outbox = _backlogs(connection.execute(_OUTBOX))
            return status.DatabaseFigures(
                next_offsets={
                    messages.LogPartition(topic_id, partition): next_offset
                    for topic_id, partition, next_offset in connection.execute(_POSITIONS)
                },
                outbox=outbox.get(False, _NOTHING),
                quarantined=outbox.get(True, _NOTHING),
                parked=_backlogs(connection.execute(_PARKED)),
                owners={row.name: row.owner for row in connection.execute(_OWNERS)},
                maintained_at=connection.execute(_MAINTAINED, {"name": maintenance.EVERYTHING}).scalar_one_or_none(),
                oldest_transaction_s=connection.execute(_OLDEST_TRANSACTION).scalar_one(),
            )


def _backlogs(rows: Iterable[Any]) -> dict[Any, status.Backlog]:
    return {state: status.Backlog(rows, oldest_age_s) for state, rows, oldest_age_s in rows}
