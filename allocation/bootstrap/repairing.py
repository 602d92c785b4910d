"""Compose what an operator repairs an installation with, while it runs or not."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

from allocation.adapters.kafka import dead_letter_log, journal_log, whole_logs
from allocation.adapters.kafka import topics as kafka_topics
from allocation.adapters.postgres import (
    audit_rows,
    decisions,
    operator_work,
    parked_room,
    quarantined,
    restoring,
    schema,
)
from allocation.service_layer import envelopes
from allocation.service_layer.operations import dead_letter_desk, parked, tailing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from allocation import config

from allocation.bootstrap import connections


@contextlib.contextmanager
def bound_database(settings: config.Settings) -> Iterator[sqlalchemy.Engine]:
    """Open the database; raises `NotInitialised` when it does not belong to these topics."""
    admin = kafka_topics.TopicAdmin(connections.kafka_clients(settings))
    with connections.database(settings) as engine:
        schema.check_binding(engine, cluster_id=admin.cluster_id(), topic_prefix=settings.topic_prefix)
        yield engine


@contextlib.contextmanager
def current_database(settings: config.Settings) -> Iterator[sqlalchemy.Engine]:
    """Open the database to write what goes into its journal.

    Raises `NotInitialised` also when it is older than its topics: after that they could not be brought together.
    """
    with bound_database(settings) as engine:
        currency(settings, engine).check()
        yield engine


def currency(settings: config.Settings, engine: sqlalchemy.Engine) -> restoring.Currency:
    """Return what tells whether the database is as new as its topics."""
    journal = journal_log.JournalLog(
        connections.kafka_clients(settings), topic=connections.topic_names(settings).journal
    )
    return restoring.Currency(engine, last_rows=journal.last_rows)


@contextlib.contextmanager
def dead_letters(
    settings: config.Settings, *, settle_timeout_s: float = whole_logs.SETTLE_TIMEOUT_S
) -> Iterator[dead_letter_desk.DeadLetterDesk]:
    """Open what finds dead letters and decides on them."""
    names, clients = connections.topic_names(settings), connections.kafka_clients(settings)
    with current_database(settings) as engine:
        yield dead_letter_desk.DeadLetterDesk(
            log=dead_letter_log.DeadLetterLog(clients, topic=names.dead_letter, settle_timeout_s=settle_timeout_s),
            decisions=decisions.PostgresDecisions(engine),
            begin=lambda: operator_work.PostgresOperatorUnitOfWork(engine, journal_topic=names.journal),
            command_topics=tuple(names.commands.values()),
        )


@contextlib.contextmanager
def decoder(settings: config.Settings) -> Iterator[tailing.Decoder]:
    """Open what shows records as plain values."""
    with connections.database(settings) as engine, connections.serde(settings, engine) as avro_serde:
        yield tailing.Decoder(topics=connections.topic_names(settings), deserializer=avro_serde)


@contextlib.contextmanager
def parked_commands(settings: config.Settings) -> Iterator[parked.ParkedCommands]:
    """Open what releases and discards parked commands, with the worker's handlers."""
    names = connections.topic_names(settings)
    with current_database(settings) as engine, connections.serde(settings, engine) as avro_serde:
        yield parked.ParkedCommands(
            room=parked_room.PostgresParkedRoom(engine),
            begin=lambda: operator_work.PostgresOperatorUnitOfWork(engine, journal_topic=names.journal),
            envelopes=envelopes.Envelopes(topics=names, serializer=avro_serde),
            grace=timedelta(seconds=settings.grace_s),
        )


@contextlib.contextmanager
def quarantine(settings: config.Settings) -> Iterator[quarantined.Quarantine]:
    """Open the rows that Kafka refused; Kafka itself is not needed."""
    with connections.database(settings) as engine:
        yield quarantined.Quarantine(engine)


@contextlib.contextmanager
def audit_log(settings: config.Settings) -> Iterator[audit_rows.AuditLog]:
    """Open what operators changed; the database alone is needed."""
    with connections.database(settings) as engine:
        yield audit_rows.AuditLog(engine)
