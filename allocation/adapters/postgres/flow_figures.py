"""What the database knows of the flow, for one who asks each second: some milliseconds, whatever its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy

from allocation.adapters.postgres import engine as postgres
from allocation.adapters.postgres import figures as status_figures
from allocation.service_layer.operations.overview import figures

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from allocation.service_layer.operations import status

_SHARDS = sqlalchemy.text("""
SELECT s.shard, s.passes, count(o.id), extract(epoch FROM clock_timestamp() - min(o.created_at))::float8
FROM relay_shards AS s LEFT JOIN outbox AS o ON o.shard = s.shard AND o.quarantined IS NULL
GROUP BY s.shard, s.passes ORDER BY s.shard
""")
# Ids are drawn once for each row; those of a transaction that was rolled back are gaps, and few.
_WRITTEN = sqlalchemy.text("""
SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('outbox', 'id')::regclass), 0)
""")
# The ten oldest are enough to see what it is; `allocation parked list` has all.
_POISONED = sqlalchemy.text("""
SELECT p.id, p.queue, p.error, p.error_class, (
    SELECT count(*) FROM (
        SELECT FROM parked AS b WHERE b.queue = p.queue AND b.id > p.id LIMIT 100000
    ) AS behind
)
FROM parked AS p WHERE p.state = 'poisoned' ORDER BY p.id LIMIT 10
""")
# The server closes the connections of a process that dies at once.
_WORKERS = sqlalchemy.text("""
SELECT DISTINCT substr(application_name, length(:prefix) + 1) FROM pg_stat_activity
WHERE datname = current_database() AND starts_with(application_name, :prefix)
""").bindparams(prefix=f"{postgres.APPLICATION} {postgres.OF_WORKER}")
_STOCK = sqlalchemy.text("""
SELECT (SELECT count(*) FROM products), count(*), coalesce(sum(purchased), 0), coalesce(sum(allocated), 0),
    coalesce(sum(line_count), 0), (SELECT coalesce(sum(event_sequence), 0) FROM products),
    (SELECT count(*) FROM outbox WHERE topic = ANY(:events))
FROM batches
""")


class FlowFigures:
    """Looks at one database; `events` are the topics of these.

    Blocks, and raises `DependencyDown`, or `NotInitialised` where there are no tables.
    """

    def __init__(self, database: sqlalchemy.Engine, *, events: Collection[str]) -> None:
        self._database = database
        self._events = list(events)
        self._status: Callable[[], status.DatabaseFigures] = status_figures.DatabaseFigures(database)

    def work(self) -> figures.Work:
        """Return what waits, and who works on it."""
        with postgres.reading(self._database) as connection:
            shards = tuple(figures.Shard(*row) for row in connection.execute(_SHARDS))
            written = connection.execute(_WRITTEN).scalar_one()
            poisoned = tuple(figures.Poisoned(*row) for row in connection.execute(_POISONED))
            workers = frozenset(connection.execute(_WORKERS).scalars())
        return figures.Work(database=self._status(), shards=shards, written=written, poisoned=poisoned, workers=workers)

    def stock(self) -> figures.Stock:
        """Return all stock together; reads every batch and product."""
        with postgres.reading(self._database) as connection:
            found = connection.execute(_STOCK, {"events": self._events}).one()
        skus, batches, purchased, allocated, lines, events, unsent = map(int, found)
        return figures.Stock(skus, batches, purchased, allocated, lines, events, announced=events - unsent)
