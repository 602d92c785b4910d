"""Figures of an installation that is well, but for what a test says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from allocation.service_layer import messages
from allocation.service_layer.operations import status
from allocation.service_layer.operations.overview import figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TOPIC_ID = "id of allocate"
NOTHING = status.Backlog(0, None)
A_WORKER = status.Member("worker-1", "10.0.0.1", 2)
A_RELAY = {"relay-0": "vm:17"}


def some_logs(*ends: int, events: int = 0, missing: tuple[str, ...] = (), dead_letters: int = 0) -> figures.Logs:
    return figures.Logs(
        partitions=tuple(
            status.Partition("allocate", messages.LogPartition(TOPIC_ID, number), 0, end, None)
            for number, end in enumerate(ends)
        ),
        events={"line_allocated": events},
        missing_topics=missing,
        dead_letters=status.DeadLetters(dead_letters, is_exact=True),
    )


def some_work(
    *positions: int,
    shards: Sequence[figures.Shard] | None = None,
    rows: int = 0,
    written: int = 0,
    owners: Mapping[str, str] | None = None,
    poisoned: tuple[figures.Poisoned, ...] = (),
    quarantined: int = 0,
    workers: frozenset[str] = frozenset(),
) -> figures.Work:
    return figures.Work(
        database=status.DatabaseFigures(
            next_offsets={
                messages.LogPartition(TOPIC_ID, number): position for number, position in enumerate(positions)
            },
            outbox=status.Backlog(rows, 1.0 if rows else None),
            quarantined=status.Backlog(quarantined, 9.0) if quarantined else NOTHING,
            parked={"poisoned": status.Backlog(len(poisoned), 1.0)} if poisoned else {},
            owners=A_RELAY if owners is None else owners,
        ),
        shards=(figures.Shard(0, 1, rows, 1.0 if rows else None),) if shards is None else tuple(shards),
        written=written,
        poisoned=poisoned,
        workers=workers,
    )


def some_stock(*, announced: int = 9) -> figures.Stock:
    return figures.Stock(3, 5, 100, 40, 7, 9, announced)


def seen(
    at_s: float,
    *,
    logs: figures.Logs | None = None,
    work: figures.Work | None = None,
    members: tuple[status.Member, ...] | None = (A_WORKER,),
    problems: Mapping[str, str] | None = None,
    parts: Mapping[str, str] | None = None,
    stock: figures.Stock | None = None,
) -> figures.Seen:
    return figures.Seen(
        at_s=at_s,
        time=datetime(2030, 1, 31, 8, tzinfo=UTC),
        problems=problems or {},
        cluster_id="here",
        logs=logs,
        members=members,
        work=work,
        stock=some_stock() if stock is None else stock,
        parts=parts or {},
    )
