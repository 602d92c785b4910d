"""Compose what reads logs again, passes over parts of them, publishes events again, and decides on positions."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocation.adapters.kafka import group_offsets, log_examination, replayed_logs, whole_logs
from allocation.adapters.postgres import leases, operator_work, waiting_room
from allocation.service_layer import reading
from allocation.service_layer.operations import positions as operation
from allocation.service_layer.operations.replay import again, pacing, plan, resending, rewinding, skipping

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from allocation import config
    from allocation.service_layer.operations import audit
    from allocation.service_layer.operations.replay import ports

from allocation.bootstrap import connections, repairing


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all of these share."""

    settings: config.Settings
    engine: sqlalchemy.Engine
    settle_timeout_s: float

    @property
    def logs(self) -> ports.Logs:
        clients = connections.kafka_clients(self.settings)
        return replayed_logs.ReplayedLogs(clients, settle_timeout_s=self.settle_timeout_s)

    @property
    def group(self) -> ports.Group:
        return group_offsets.GroupOffsets(connections.kafka_clients(self.settings), group=self.settings.consumer_group)

    @property
    def positions(self) -> ports.Positions:
        return waiting_room.PostgresWaitingRoom(self.engine).positions

    @property
    def pace(self) -> pacing.Pace:
        rows = waiting_room.PostgresWaitingRoom(self.engine).outbox_rows
        return pacing.Pace(rows, max(self.settings.outbox_limit // 2, 1))  # the other half is the workers'

    def intermission(self, note: audit.Note) -> leases.Lease:
        owner = f"{note.who}, {leases.new_owner()}: {note.why}"  # as a worker that leaves tells it
        return leases.Lease(self.engine, name=leases.INTERMISSION, duration_s=rewinding.LEASE_S, owner=owner)

    def begin(self) -> audit.OperatorUnitOfWork:
        journal_topic = connections.topic_names(self.settings).journal
        return operator_work.PostgresOperatorUnitOfWork(self.engine, journal_topic=journal_topic)


@contextlib.contextmanager
def _parts(settings: config.Settings, *, settle_timeout_s: float = whole_logs.SETTLE_TIMEOUT_S) -> Iterator[_Parts]:
    with repairing.current_database(settings) as engine:
        yield _Parts(settings, engine, settle_timeout_s)


@contextlib.contextmanager
def replay_planner(
    settings: config.Settings, *, settle_timeout_s: float = whole_logs.SETTLE_TIMEOUT_S
) -> Iterator[plan.Planner]:
    """Open what tells where the logs begin and end, and what a replay would cover."""
    commands = connections.topic_names(settings).commands.values()
    with _parts(settings, settle_timeout_s=settle_timeout_s) as parts:
        yield plan.Planner(logs=parts.logs, group=parts.group, positions=parts.positions, command_topics=commands)


@contextlib.contextmanager
def rewinder(settings: config.Settings) -> Iterator[rewinding.Rewinder]:
    """Open what moves the group's offsets."""
    with _parts(settings) as parts:
        yield rewinding.Rewinder(
            logs=parts.logs,
            group=parts.group,
            positions=parts.positions,
            begin=parts.begin,
            intermission=parts.intermission,
        )


@contextlib.contextmanager
def handling_again(settings: config.Settings) -> Iterator[again.Again]:
    """Open what sends commands out as new attempts."""
    names = connections.topic_names(settings)
    with _parts(settings) as parts, connections.serde(settings, parts.engine) as avro_serde:
        reader = reading.MessageReader(topics=names, deserializer=avro_serde)
        yield again.Again(logs=parts.logs, begin=parts.begin, reader=reader, pace=parts.pace)


@contextlib.contextmanager
def skipper(settings: config.Settings) -> Iterator[skipping.Skipper]:
    """Open what passes over parts of a log."""
    with _parts(settings) as parts:
        yield skipping.Skipper(logs=parts.logs, positions=parts.positions, begin=parts.begin)


@contextlib.contextmanager
def resender(settings: config.Settings) -> Iterator[resending.Resender]:
    """Open what publishes events again."""
    names = connections.topic_names(settings)
    with _parts(settings) as parts, connections.serde(settings, parts.engine) as avro_serde:
        yield resending.Resender(
            logs=parts.logs, begin=parts.begin, deserializer=avro_serde, names=names, pace=parts.pace
        )


@contextlib.contextmanager
def positions(settings: config.Settings) -> Iterator[operation.Positions]:
    """Open what decides on positions that do not fit their logs."""
    commands = tuple(connections.topic_names(settings).commands.values())
    with _parts(settings) as parts:
        examine = log_examination.LogExamination(
            connections.kafka_clients(settings), names=commands, stored=parts.positions
        )
        yield operation.Positions(examine=examine, begin=parts.begin)
