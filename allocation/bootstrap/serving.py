"""Compose the HTTP API."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocation.adapters.avro import registry as avro_registry
from allocation.adapters.avro import schemas
from allocation.adapters.kafka import command_log
from allocation.adapters.kafka import producer as kafka_producer
from allocation.adapters.postgres import engine as postgres
from allocation.adapters.postgres import figures, notifications
from allocation.service_layer import envelopes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import sqlalchemy

    from allocation import config
    from allocation.service_layer.operations import status

from allocation.bootstrap import connections


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What the HTTP API is made of; `connect` lends a connection that reads what is committed.

    `figures` and `check_registry` block, and raise one of `expected` without an answer.
    """

    log: command_log.CommandLog
    envelopes: envelopes.Envelopes
    connect: Callable[[], contextlib.AbstractContextManager[sqlalchemy.Connection]]
    hints: notifications.Listener
    figures: Callable[[], status.DatabaseFigures]
    check_registry: Callable[[], object]
    expected: tuple[type[Exception], ...]


@contextlib.contextmanager
def api(settings: config.Settings) -> Iterator[Api]:
    """Open what the HTTP API needs; raises `NotInitialised` where `init` did not run, `DependencyDown`.

    Kafka may be away: then calls that read are answered all the same.
    """
    names = connections.topic_names(settings)
    clients = connections.kafka_clients(settings)
    # What Kafka has not taken when a call's time is over is dropped soon after: the caller was told so.
    waiting_s = settings.http_timeout_s
    with (
        connections.database(settings) as engine,
        kafka_producer.Producer(clients, delivery_timeout_s=waiting_s) as producer,
        notifications.Listener(engine) as hints,
        connections.serde(settings, engine) as avro_serde,
        avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config) as registry,
    ):
        yield Api(
            log=command_log.CommandLog(clients, producer=producer, command_topics=names.commands.values()),
            envelopes=envelopes.Envelopes(topics=names, serializer=avro_serde),
            connect=functools.partial(postgres.reading, engine),
            hints=hints,
            figures=figures.DatabaseFigures(engine),
            check_registry=lambda: registry.check(subject=schemas.subject(names.allocate)),
            expected=connections.EXPECTED_FAILURES,
        )
