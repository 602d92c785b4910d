"""Compose what takes out old rows."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from allocation.adapters.kafka import dead_letter_log
from allocation.adapters.postgres import leases, pruning
from allocation.service_layer.operations import maintenance as operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import config

from allocation.bootstrap import connections, repairing

_DAY_S = 24 * 60 * 60


@contextlib.contextmanager
def maintenance(settings: config.Settings) -> Iterator[operation.Maintenance]:
    """Open what prunes the tables; raises `NotInitialised` when the database does not belong to these topics."""
    names = connections.topic_names(settings)
    with repairing.parked_commands(settings) as parked, connections.database(settings) as engine:
        yield operation.Maintenance(
            rows=pruning.PostgresRows(engine),
            letters=dead_letter_log.DeadLetterLog(connections.kafka_clients(settings), topic=names.dead_letter),
            parked=parked,
            retention=operation.Retention(
                inbox_s=settings.inbox_retention_days * _DAY_S,
                journal_s=settings.journal_retention_days * _DAY_S,
                audit_s=settings.audit_retention_days * _DAY_S,
                parked_s=settings.parked_retention_days * _DAY_S,
            ),
        )


@contextlib.contextmanager
def maintenance_turn(settings: config.Settings) -> Iterator[leases.Lease]:
    """Open the lease whose length is the interval: who gets it does the work, and it is not given back when done.

    Nobody is connected meanwhile, so that who waits for hours is in nobody's way (see `occupancy`).
    """
    with connections.database(settings, keeps_connections=False) as engine:
        yield leases.Lease(engine, name="maintenance", duration_s=settings.maintenance_interval_s)
