"""The unsent rows of one shard, and their deletion.

Every change here is a compare-and-set on the shard's incarnation and number of passes, so that a relay
which was overtaken changes nothing, and a restored database with the same ids loses nothing. And each is
sent to the server as a whole: a relay that is stopped halfway holds no lock that the next one needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import dedicated, outbox_floor, prepared
from allocation.adapters.postgres import engine as postgres
from allocation.service_layer.relaying import ports

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy

    from allocation.service_layer.relaying import checkpoints

# What a pass may hold: it is in memory twice, here and in the Kafka client.
MAX_BYTES = 16 * 1024 * 1024

# A queue's statistics are always those of another moment: the planner took ten rows for all there were, and sorted
# 200,000 of them for each pass (200 ms; 10 ms in the order of the index). So the index it is.
_PLAN = """
SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET jit = off;
SET plan_cache_mode = force_generic_plan
"""

_STATE = """
SELECT i.database_id::text, i.incarnation::text, i.earlier::text[], s.passes, s.checkpointed, s.delivery,
    EXISTS (SELECT FROM outbox AS o WHERE o.shard = s.shard AND o.quarantined IS NOT NULL)
FROM instance AS i CROSS JOIN relay_shards AS s WHERE s.shard = %s
"""

_BEHIND = """
EXISTS (
    SELECT FROM outbox AS q
    WHERE q.shard = o.shard AND q.quarantined IS NOT NULL AND q.sku = o.sku AND q.id < o.id
)
"""

# The first row comes however large it is. There are none if the shard is not as it was seen.
_READ = f"""
SELECT id, topic, partition, key, value, headers FROM (
    SELECT *, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - bytes AS bytes_before FROM (
        SELECT id, topic, partition, key, value, headers,
            coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0) + octet_length(headers) AS bytes
        FROM outbox AS o WHERE shard = %s AND id >= %s AND quarantined IS NULL AND NOT {_BEHIND} AND EXISTS (
            SELECT FROM relay_shards AS s CROSS JOIN instance AS i
            WHERE s.shard = %s AND s.passes = %s AND i.incarnation = %s::uuid AND s.delivery = %s
        )
        ORDER BY id LIMIT %s
    ) AS first_rows
) AS sized_rows WHERE bytes_before < %s
"""  # noqa: S608 - no text from outside

_COUNT = """
SELECT count(*) FROM unnest(%s::bigint[], %s::bigint[]) AS run (first, last)
JOIN outbox AS o ON o.id BETWEEN run.first AND run.last WHERE o.shard = %s
"""

_SETTLE = """
WITH pass AS (
    UPDATE relay_shards SET passes = passes + 1
    WHERE shard = %s AND passes = %s AND EXISTS (SELECT FROM instance WHERE incarnation = %s::uuid)
    RETURNING shard
), sent AS (
    DELETE FROM outbox AS o USING pass, unnest(%s::bigint[], %s::bigint[]) AS run (first, last)
    WHERE o.shard = pass.shard AND o.id BETWEEN run.first AND run.last
    RETURNING o.id
)
SELECT (SELECT count(*) FROM pass), (SELECT count(*) FROM sent)
"""

# The shard, locked, if it still is as it was seen.
_SHARD_AS_SEEN = """
shard AS (
    SELECT shard FROM relay_shards
    WHERE shard = %s AND passes = %s AND EXISTS (SELECT FROM instance WHERE incarnation = %s::uuid)
    FOR UPDATE
)
"""

_QUARANTINE = f"""
WITH {_SHARD_AS_SEEN}, refused AS (
    UPDATE outbox AS o SET quarantined = %s FROM shard
    WHERE o.id = %s AND o.shard = shard.shard AND o.quarantined IS NULL
    RETURNING o.shard, o.sku, o.id
), behind AS (
    UPDATE outbox AS o SET quarantined = 'behind row ' || refused.id FROM refused
    WHERE o.shard = refused.shard AND o.sku = refused.sku AND o.id > refused.id AND o.quarantined IS NULL
    RETURNING o.id
)
SELECT (SELECT count(*) FROM shard), (SELECT count(*) FROM refused) + (SELECT count(*) FROM behind)
"""  # noqa: S608 - no text from outside

# What commits after this look has not been sent by anybody: only the owner of the lease sends, and it is here.
_SWITCH = f"""
WITH {_SHARD_AS_SEEN}, waiting AS (
    SELECT count(*) AS rows FROM outbox JOIN shard USING (shard)
), switched AS (
    UPDATE relay_shards AS s SET delivery = %s, repeated_until = now() FROM shard, waiting
    WHERE s.shard = shard.shard AND waiting.rows = 0
)
SELECT (SELECT count(*) FROM shard), (SELECT rows FROM waiting)
"""  # noqa: S608 - no text from outside

# Rows that came later, of a sku that is held back: marked, so that the scan does not meet them again and again.
# Marked and released under one lock: no row may be marked that nothing stands before any more.
_HOLD_BACK = f"""
SELECT FROM relay_shards WHERE shard = %s FOR UPDATE;
UPDATE outbox SET quarantined = 'behind an earlier row of its sku' WHERE id IN (
    SELECT id FROM (
        SELECT * FROM outbox WHERE shard = %s AND id >= %s AND quarantined IS NULL ORDER BY id LIMIT %s
    ) AS o WHERE {_BEHIND}
)
"""  # noqa: S608 - no text from outside
_RELEASE = """
SELECT FROM relay_shards ORDER BY shard FOR UPDATE;
UPDATE outbox AS o SET quarantined = NULL FROM outbox AS q
WHERE q.id = %s AND o.shard = q.shard AND o.quarantined IS NOT NULL
    AND (o.id = q.id OR (o.sku = q.sku AND o.id > q.id))
"""


class OutboxRows:
    """Implements `relaying.ports.Outbox` for one shard, on a connection of its own."""

    def __init__(self, connection: Any, *, shard: int) -> None:
        self._plain = connection.cursor()
        self._cursor = prepared.Cursor(self._plain, prepared.Prepared())
        self._shard = shard
        self._has_quarantined = False
        self._floor = outbox_floor.Floor(self._plain)
        self._as_left: tuple[str, int] | None = None
        with postgres.translated_errors():
            self._plain.execute(_PLAN)

    def state(self) -> ports.ShardState:
        """Return the state of the shard; raises `RelayStopped` when there is no such shard."""
        with postgres.translated_errors():
            self._cursor.execute(_STATE, (self._shard,))
            row = self._cursor.fetchone()
        if row is None:
            raise ports.RelayStopped(f"the database has no relay shard {self._shard}; run `allocation init`")
        database_id, incarnation, earlier, passes, is_checkpointed, delivery, self._has_quarantined = row
        if (incarnation, passes) != self._as_left:  # another relay's, or a restored one, where ids begin again
            self._as_left, self._floor = (incarnation, passes), outbox_floor.Floor(self._plain)
        return ports.ShardState(
            database_id=database_id,
            incarnation=incarnation,
            passes=passes,
            is_checkpointed=is_checkpointed,
            earlier=frozenset(earlier),
            delivery=ports.Delivery(delivery),
        )

    def read(self, *, limit: int, state: ports.ShardState) -> ports.Window:
        """Return the first unsent rows in id order, at most `limit` and `MAX_BYTES`."""
        seen = (self._shard, state.passes, state.incarnation, state.delivery.value)
        with postgres.translated_errors():
            if self._has_quarantined:
                self._plain.execute(_HOLD_BACK, (self._shard, self._shard, self._floor.id, limit))
            self._cursor.execute(_READ, (self._shard, self._floor.id, *seen, limit, MAX_BYTES))
            rows = self._cursor.fetchall()
        if not rows:
            self._check(self.state() == state)
        return ports.Window(rows, is_cut=_is_cut(rows, limit))

    def count(self, checkpoint: checkpoints.Checkpoint) -> int:
        """Return how many of the rows of this pass are there."""
        with postgres.translated_errors():
            self._cursor.execute(_COUNT, (*_bounds(checkpoint), self._shard))
            (count,) = self._cursor.fetchone()
        return int(count)

    def settle(self, checkpoint: checkpoints.Checkpoint) -> int:
        """Delete the rows of this pass and count it; return how many rows there were."""
        guard = (self._shard, checkpoint.number - 1, checkpoint.incarnation)
        with postgres.translated_errors():
            self._cursor.execute(_SETTLE, (*guard, *_bounds(checkpoint)))
            is_next, count = self._cursor.fetchone()
            self._check(is_next)
            self._as_left = checkpoint.incarnation, checkpoint.number
            if count:
                self._floor.sent(count, last=checkpoint.runs[-1].last)
        return int(count)

    def quarantine(self, row_id: int, *, reason: str, state: ports.ShardState) -> int:
        """Set a row aside, with those of its sku that come after it; return how many rows."""
        guard = (self._shard, state.passes, state.incarnation)
        with postgres.translated_errors():
            self._cursor.execute(_QUARANTINE, (*guard, reason, row_id))
            is_current, count = self._cursor.fetchone()
        self._check(is_current)
        self._has_quarantined = True
        return int(count)

    def switch(self, delivery: ports.Delivery, *, state: ports.ShardState) -> int:
        """Deliver otherwise from now on, unless the shard has rows; return how many it has."""
        guard = (self._shard, state.passes, state.incarnation)
        with postgres.translated_errors():
            self._cursor.execute(_SWITCH, (*guard, delivery.value))
            is_current, count = self._cursor.fetchone()
        self._check(is_current)
        return int(count)

    def _check(self, is_ours: int) -> None:
        if not is_ours:
            raise ports.Superseded(f"shard {self._shard} was changed by another relay")


def release(engine: sqlalchemy.Engine, *, row_id: int) -> int:
    """Let a quarantined row, and those of its sku behind it, be sent after all; return how many rows."""
    with postgres.translated_errors(), dedicated.connection(engine) as connection:
        return release_within(connection.cursor(), row_id=row_id)


def release_within(cursor: Any, *, row_id: int) -> int:
    """Do what `release` does in a transaction of the caller's."""
    cursor.execute(_RELEASE, (row_id,))
    return int(cursor.rowcount)


def _is_cut(rows: Sequence[ports.Row], limit: int) -> bool:
    """Tell whether one of the limits ended the rows, and not their end."""
    return len(rows) == limit or sum(map(_bytes_of, rows)) >= MAX_BYTES


def _bytes_of(row: ports.Row) -> int:
    *_, key, value, headers = row
    return len(key or b"") + len(value or b"") + len(headers)


def _bounds(checkpoint: checkpoints.Checkpoint) -> tuple[list[int], list[int]]:
    return [run.first for run in checkpoint.runs], [run.last for run in checkpoint.runs]
