"""The composition root: the one place where parts are chosen and joined.

Everything that is opened here is a context manager, closed in reverse by whoever entered it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from allocation.adapters.avro import registry as avro_registry
from allocation.adapters.avro import schemas as avro_schemas
from allocation.adapters.avro import serde as avro
from allocation.adapters.kafka import clients as kafka
from allocation.adapters.kafka import consumer as kafka_consumer
from allocation.adapters.kafka import topic_specs
from allocation.adapters.kafka import topics as kafka_topics
from allocation.adapters.postgres import engine as postgres
from allocation.adapters.postgres import schema, waiting_room
from allocation.adapters.postgres import unit_of_work as postgres_unit_of_work
from allocation.service_layer import (
    envelopes,
    failure_policy,
    grace,
    messagebus,
    messages,
    processing,
    reading,
    topics,
    unit_of_work,
    working,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import sqlalchemy

    from allocation import config


def topic_names(settings: config.Settings) -> topics.TopicNames:
    """Return the names of all topics of this installation."""
    return topics.TopicNames(settings.topic_prefix)


@contextlib.contextmanager
def database(settings: config.Settings) -> Iterator[sqlalchemy.Engine]:
    """Open the connections to the database."""
    engine = postgres.create(settings.database_url)
    try:
        yield engine
    finally:
        engine.dispose()


def kafka_clients(settings: config.Settings) -> kafka.ClientConfig:
    """Return the settings of all Kafka clients."""
    return kafka.ClientConfig(settings.kafka_bootstrap_servers, settings.kafka_config)


def serde(settings: config.Settings, database: sqlalchemy.Engine) -> avro.AvroSerde:
    """Return the reader and writer of values; the ids of our own schemas are those that `init` kept."""
    registry = avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config)
    remembered = schema.remembered_schemas(database)
    names = topic_names(settings)
    ids = {}
    for record_name, topic in (*names.commands.items(), *names.events.items()):
        subject = avro_schemas.subject(topic)
        if subject not in remembered:
            raise schema.NotInitialised(f"no id of the schema of {subject} is kept; run `allocation init`")
        ids[record_name] = remembered[subject][0]
    return avro.AvroSerde(ids=ids, lookup=registry.definition)


def initialise(settings: config.Settings, *, on_progress: Callable[[str], None]) -> None:
    """Create what is missing of topics, tables and schemas; may be repeated, and changes nothing that is there."""
    names = topic_names(settings)
    admin = kafka_topics.TopicAdmin(kafka_clients(settings))
    cluster_id = admin.cluster_id()
    created = admin.create(
        topic_specs.topic_specs(names, partitions=settings.partitions, replicas=settings.replication_factor)
    )
    on_progress(f"topics: {len(created)} created on cluster {cluster_id}")
    with database(settings) as engine:
        schema.migrate(engine)
        schema.bind(engine, cluster_id=cluster_id, topic_prefix=settings.topic_prefix)
        on_progress("database: migrated")
        schema.remember_schemas(engine, _register_schemas(settings, names))
        on_progress("schemas: registered")


def _register_schemas(settings: config.Settings, names: topics.TopicNames) -> Mapping[str, tuple[int, str]]:
    registered = {}
    definitions = avro_schemas.load()
    with avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config) as registry:
        for record_name, topic in (*names.commands.items(), *names.events.items()):
            subject, definition = avro_schemas.subject(topic), definitions[record_name]
            registered[subject] = (registry.register(subject=subject, definition=definition), definition)
    return registered


def message_bus(uow: unit_of_work.UnitOfWork) -> messagebus.MessageBus:
    """Return the bus with all handlers, for this unit of work."""
    return messagebus.MessageBus(uow)


@contextlib.contextmanager
def worker(settings: config.Settings) -> Iterator[working.Worker]:
    """Open a worker; raises `NotInitialised` when the database does not belong to these topics."""
    names = topic_names(settings)
    with database(settings) as engine:
        admin = kafka_topics.TopicAdmin(kafka_clients(settings))
        schema.check_binding(engine, cluster_id=admin.cluster_id(), topic_prefix=settings.topic_prefix)
        avro_serde = serde(settings, engine)
        room = waiting_room.PostgresWaitingRoom(engine)
        processor = processing.Processor(
            begin=lambda: postgres_unit_of_work.PostgresUnitOfWork(engine, journal_topic=names.journal),
            reader=reading.MessageReader(topics=names, deserializer=avro_serde),
            envelopes=envelopes.Envelopes(topics=names, serializer=avro_serde),
            grace_s=settings.grace_s,
        )
        consumer = kafka_consumer.GroupConsumer(
            kafka_clients(settings),
            admin=admin,
            topics=tuple(names.commands.values()),
            group=settings.consumer_group,
            instance_id=settings.consumer_instance_id,
            protocol=settings.group_protocol,
            session_timeout_ms=settings.session_timeout_ms,
            stored=room.positions,
        )
        with contextlib.closing(consumer):
            yield working.Worker(
                consumer=consumer,
                processor=processor,
                policy=failure_policy.FailurePolicy(processor, max_retries=settings.max_retries),
                grace=grace.Grace(room=room, ends=lambda: _log_ends(admin, names.create_batch), processor=processor),
                batch_size=settings.batch_size,
            )


def _log_ends(admin: kafka_topics.TopicAdmin, topic: str) -> Mapping[messages.LogPartition, int]:
    topic_id = admin.describe([topic])[topic].topic_id
    marks = admin.watermarks(admin.partitions([topic]))
    return {messages.LogPartition(topic_id, number): mark.end for (_, number), mark in marks.items()}
