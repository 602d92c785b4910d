"""What all parts share: names, connections, and the reader and writer of values."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from allocation.adapters.avro import registry as avro_registry
from allocation.adapters.avro import schemas as avro_schemas
from allocation.adapters.avro import serde as avro
from allocation.adapters.kafka import clients as kafka
from allocation.adapters.postgres import engine as postgres
from allocation.adapters.postgres import schema
from allocation.service_layer import topics

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@contextlib.contextmanager
def serde(settings: config.Settings, database: sqlalchemy.Engine) -> Iterator[avro.AvroSerde]:
    """Open the reader and writer of values; the ids of our own schemas are those that `init` kept.

    The registry is asked only for schemas of others. Raises `NotInitialised` when a schema has changed since `init`.
    """
    remembered, definitions = schema.remembered_schemas(database), avro_schemas.load()
    names = topic_names(settings)
    ids = {}
    for record_name, topic in (*names.commands.items(), *names.events.items()):
        subject = avro_schemas.subject(topic)
        schema_id, definition = remembered.get(subject, (0, ""))
        if definition != definitions[record_name]:
            raise schema.NotInitialised(
                f"the schema of {subject} is not registered as it is now; run `allocation init`"
            )
        ids[record_name] = schema_id
    with avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config) as registry:
        yield avro.AvroSerde(ids=ids, lookup=registry.definition)
