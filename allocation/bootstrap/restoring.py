"""Compose what lets a restored database catch up."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from allocation.adapters.kafka import announced, journal_log
from allocation.adapters.postgres import relay_shards, restoring, schema
from allocation.bootstrap import connections, rebuilding, relaying, repairing
from allocation.service_layer.operations.replay import restoring as operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from allocation import config
    from allocation.service_layer.operations.replay import rebuilding as rebuild
    from allocation.service_layer.operations.replay import rebuilding_ports as ports


@contextlib.contextmanager
def restorer(settings: config.Settings) -> Iterator[operation.Restore]:
    """Open what lets a restored database catch up; raises `NotInitialised` when it does not belong to these topics."""
    names, clients = connections.topic_names(settings), connections.kafka_clients(settings)
    with repairing.bound_database(settings) as engine:
        database = restoring.RestoredDatabase(engine, journal_topic=names.journal)
        database_id = schema.database_id(engine)
        shards = [
            functools.partial(relaying.relay_log, settings, shard=shard, database_id=database_id)
            for shard in relay_shards.RelayShards(engine).all()
        ]
        yield operation.Restore(
            database=database,
            journal=journal_log.JournalLog(clients, topic=names.journal),
            topics=announced.AnnouncedTopics(clients, journal_topic=names.journal, open_shards=shards),
            event_topics=(*names.events.values(), names.dead_letter),
            open_rebuild=functools.partial(_open, settings, engine, database),
        )


def _open(
    settings: config.Settings,
    engine: sqlalchemy.Engine,
    database: restoring.RestoredDatabase,
    outbound: ports.Outbound,
) -> contextlib.AbstractContextManager[rebuild.Rebuild]:
    return rebuilding.opened(settings, engine, database, starts=database.positions(), outbound=outbound)
