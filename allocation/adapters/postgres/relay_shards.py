"""Which shards the outbox has, and whether each has its first checkpoint in Kafka."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy.dialects import postgresql

from allocation.adapters.postgres import engine as postgres
from allocation.adapters.postgres import tables
from allocation.service_layer.relaying import ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TABLE = tables.relay_shards


class RelayShards:
    """Implements `relaying.ports.Shards`; threads may share it."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._engine = engine

    def all(self) -> Sequence[int]:
        """Return the numbers of all shards; raises `DependencyDown`, and `RelayStopped` when there are none."""
        with postgres.translated_errors(), self._engine.connect() as connection:
            shards = connection.scalars(sqlalchemy.select(_TABLE.c.shard).order_by(_TABLE.c.shard)).all()
        if not shards:
            raise ports.RelayStopped("the database has no relay shards yet; run `allocation init`")
        return shards

    def add(self, *, count: int, delivery: ports.Delivery = ports.Delivery.EXACTLY_ONCE) -> Sequence[int]:
        """Make sure that there are shards 0 to `count` - 1, new ones that deliver so; return all. May be repeated."""
        rows = [{"shard": shard, "delivery": delivery.value} for shard in range(count)]
        with postgres.translated_errors(), self._engine.begin() as connection:
            connection.execute(postgresql.insert(_TABLE).on_conflict_do_nothing(), rows)
        return self.all()

    @contextlib.contextmanager
    def unchecked(self, shard: int) -> Iterator[PendingShard | None]:
        """Lock a shard until the block ends; None when it has its first checkpoint."""
        query = sqlalchemy.select(_TABLE.c.checkpointed).where(_TABLE.c.shard == shard).with_for_update()
        with postgres.translated_errors(), self._engine.begin() as connection:
            is_checkpointed = connection.scalar(query)
            yield None if is_checkpointed else PendingShard(connection, shard=shard)


class PendingShard:
    """Implements `relaying.ports.PendingShard`."""

    def __init__(self, connection: sqlalchemy.Connection, *, shard: int) -> None:
        self._connection = connection
        self._shard = shard

    def state(self) -> ports.ShardState:
        """Return the state of the shard; an error when the transaction, and so the lock, is lost."""
        instance = tables.instance.c
        query = (
            sqlalchemy.select(instance.database_id, instance.incarnation, _TABLE.c.passes, _TABLE.c.checkpointed)
            .join_from(_TABLE, tables.instance, sqlalchemy.true())
            .where(_TABLE.c.shard == self._shard)
        )
        row: Any = self._connection.execute(query).one_or_none()
        if row is None:
            raise ports.RelayStopped("the database is bound to no Kafka cluster yet; run `allocation init`")
        return ports.ShardState(
            database_id=str(row.database_id),
            incarnation=str(row.incarnation),
            passes=row.passes,
            is_checkpointed=row.checkpointed,
        )

    def finish(self) -> None:
        """Note that the first checkpoint is in Kafka."""
        change = _TABLE.update().where(_TABLE.c.shard == self._shard).values(checkpointed=True)
        self._connection.execute(change)
