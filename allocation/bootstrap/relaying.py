"""Compose the relay."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from allocation.adapters.kafka import relay_idempotent, relay_transaction
from allocation.adapters.postgres import dedicated, leases, notifications, outbox_rows
from allocation.adapters.postgres import relay_shards as postgres_relay_shards
from allocation.service_layer import signals
from allocation.service_layer.relaying import duty, setting_up
from allocation.service_layer.relaying import ports as relaying

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import sqlalchemy

    from allocation import config

from allocation.bootstrap import connections


def create_relay_shards(settings: config.Settings, database: sqlalchemy.Engine, *, count: int = 1) -> None:
    """Give each shard of the outbox its first checkpoint; may be repeated. The topic must be there."""
    setting_up.create_shards(
        postgres_relay_shards.RelayShards(database),
        count=count,
        delivery=relaying.Delivery(settings.delivery),
        open_log=lambda *, shard, database_id: relay_log(settings, shard=shard, database_id=database_id),
    )


def relay_shards(settings: config.Settings) -> Sequence[int]:
    """Return the shards of the outbox; raises `DependencyDown`, and `RelayStopped` when there are none."""
    with connections.database(settings) as engine:
        return postgres_relay_shards.RelayShards(engine).all()


def relay(settings: config.Settings, *, shard: int, signals: signals.Signals = signals.SILENT) -> duty.Duty:
    """Return the relay of a shard; nothing is opened before it runs."""
    owner = leases.new_owner()
    return duty.Duty(
        shard=shard,
        connect=lambda: _relay_desk(settings, shard=shard, owner=owner),
        lease_s=settings.relay_lease_s,
        delivery=relaying.Delivery(settings.delivery),
        signals=signals,
    )


@contextlib.contextmanager
def _relay_desk(settings: config.Settings, *, shard: int, owner: str) -> Iterator[relaying.Desk]:
    with (
        connections.database(settings) as engine,
        dedicated.connection(engine) as connection,
        notifications.Listener(engine) as listener,
    ):
        listener.wait(0)
        outbox = outbox_rows.OutboxRows(connection, shard=shard)
        database_id = outbox.state().database_id

        def open_transactions() -> contextlib.AbstractContextManager[relaying.TransactionLog]:
            return relay_log(settings, shard=shard, database_id=database_id)

        yield relaying.Desk(
            lease=leases.Lease(engine, name=f"relay-{shard}", duration_s=settings.relay_lease_s, owner=owner),
            outbox=outbox,
            hints=listener,
            open_log=_opener(settings, open_transactions),
            open_transactions=open_transactions,
        )


def _opener(
    settings: config.Settings, open_transactions: Callable[[], contextlib.AbstractContextManager[relaying.Log]]
) -> Callable[[], contextlib.AbstractContextManager[relaying.Log]]:
    match relaying.Delivery(settings.delivery):
        case relaying.Delivery.EXACTLY_ONCE:
            return open_transactions
        case relaying.Delivery.AT_LEAST_ONCE:
            return functools.partial(relay_idempotent.open_log, connections.kafka_clients(settings))


def relay_log(
    settings: config.Settings, *, shard: int, database_id: str
) -> contextlib.AbstractContextManager[relay_transaction.RelayTransactions]:
    """Open the checkpoints and transactions of a shard; every other relay that uses them is fenced off."""
    return relay_transaction.open_log(
        connections.kafka_clients(settings),
        topic=connections.topic_names(settings).relay_checkpoint,
        shard=shard,
        transactional_id=f"{settings.topic_prefix}allocation-relay-{database_id}-{shard}",
    )
