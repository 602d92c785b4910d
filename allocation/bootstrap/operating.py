"""Compose what the operator's commands need."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from allocation.adapters.avro import registry as avro_registry
from allocation.adapters.avro import schemas as avro_schemas
from allocation.adapters.avro import serde as avro
from allocation.adapters.kafka import figures as kafka_figures
from allocation.adapters.kafka import log_reader, whole_logs
from allocation.adapters.kafka import producer as kafka_producer
from allocation.adapters.kafka import topics as kafka_topics
from allocation.adapters.postgres import figures as postgres_figures
from allocation.adapters.postgres import schema, snapshot
from allocation.adapters.redis import connections as redis_connections
from allocation.service_layer import envelopes, reading, topics
from allocation.service_layer.operations import history_making, history_sources, producing, status, tailing
from allocation.service_layer.operations.verify import events as verified_events
from allocation.service_layer.operations.verify import verification as verify

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from allocation import config
    from allocation.service_layer.operations.verify import ports as verify_ports

from allocation.bootstrap import connections


@contextlib.contextmanager
def verification(settings: config.Settings) -> Iterator[verify.Verification]:
    """Open what compares commands, database and topics; raises `NotInitialised` when they do not belong together."""
    names = connections.topic_names(settings)
    clients = connections.kafka_clients(settings)
    with connections.database(settings) as engine, connections.serde(settings, engine) as avro_serde:
        cluster_id = kafka_topics.TopicAdmin(clients).cluster_id()
        schema.check_binding(engine, cluster_id=cluster_id, topic_prefix=settings.topic_prefix)
        yield verify.Verification(
            database=snapshot.PostgresSnapshots(engine),
            logs=whole_logs.WholeLogs(clients),
            topics=names,
            messages=reading.MessageReader(topics=names, deserializer=avro_serde),
            events=verified_events.EventReader(topics=names, deserializer=avro_serde),
        )


@contextlib.contextmanager
def history(
    settings: config.Settings,
    on_progress: verify_ports.Progress,
    *,
    settle_timeout_s: float = whole_logs.SETTLE_TIMEOUT_S,
) -> Iterator[history_making.HistoryMaker]:
    """Open what tells the history of an order, sku or batch, with Kafka and the registry alone."""
    names = connections.topic_names(settings)
    clients = connections.kafka_clients(settings)
    with avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config) as registry:
        deserializer = avro.AvroSerde(ids={}, lookup=registry.definition)
        sources = history_sources.Sources(
            logs=whole_logs.WholeLogs(clients, settle_timeout_s=settle_timeout_s),
            topics=names,
            reader=reading.MessageReader(topics=names, deserializer=deserializer),
            on_progress=on_progress,
        )
        yield history_making.HistoryMaker(
            sources, events=verified_events.EventReader(topics=names, deserializer=deserializer)
        )


@contextlib.contextmanager
def command_sender(settings: config.Settings) -> Iterator[producing.Sender]:
    """Open what sends commands, with Kafka and the registry alone; raises `SchemaNotRegistered`, `DependencyDown`."""
    names = connections.topic_names(settings)
    with avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config) as registry:
        avro_serde = avro.AvroSerde(ids=_command_schemas(registry, names), lookup=registry.definition)
        with kafka_producer.Producer(connections.kafka_clients(settings)) as producer:
            yield producing.Sender(
                producer=producer, envelopes=envelopes.Envelopes(topics=names, serializer=avro_serde)
            )


def _command_schemas(registry: avro_registry.Registry, names: topics.TopicNames) -> Mapping[str, int]:
    definitions = avro_schemas.load()
    return {
        record_name: registry.id_of(subject=avro_schemas.subject(topic), definition=definitions[record_name])
        for record_name, topic in names.commands.items()
    }


def tail(
    settings: config.Settings,
    names: Sequence[str],
    *,
    from_beginning: bool,
    follow: bool,
    stop: Callable[[], bool],
) -> Generator[dict[str, Any]]:
    """Yield what lies on the topics as plain values, with Kafka and the registry alone; see `LogReader.read`."""
    start = log_reader.Start.BEGINNING if from_beginning else log_reader.Start.END
    with avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config) as registry:
        deserializer = avro.AvroSerde(ids={}, lookup=registry.definition)
        decoder = tailing.Decoder(topics=connections.topic_names(settings), deserializer=deserializer)
        settle_timeout_s = 0.0 if follow else whole_logs.SETTLE_TIMEOUT_S
        records = log_reader.LogReader(connections.kafka_clients(settings)).read(
            names, start=start, follow=follow, stop=stop, settle_timeout_s=settle_timeout_s
        )
        yield from map(decoder.line, records)


@contextlib.contextmanager
def inspection(settings: config.Settings) -> Iterator[status.Inspection]:
    """Open what looks at an installation, whichever of its parts are up."""
    names = connections.topic_names(settings)
    with (
        connections.database(settings) as engine,
        avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config) as registry,
        redis_connections.connect(settings.redis_url) as client,
    ):
        yield status.Inspection(
            kafka=kafka_figures.KafkaFigures(
                connections.kafka_clients(settings), names=names, group=settings.consumer_group
            ),
            database=postgres_figures.DatabaseFigures(engine),
            fits=functools.partial(schema.check_binding, engine, topic_prefix=settings.topic_prefix),
            others={
                "schema registry": lambda: _command_schemas(registry, names),
                "Redis": lambda: redis_connections.check(client),
            },
            expected=connections.EXPECTED_FAILURES,
        )
