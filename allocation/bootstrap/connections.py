"""What all parts share: names, connections, and the reader and writer of values."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from typing import TYPE_CHECKING

from allocation.adapters.avro import registry as avro_registry
from allocation.adapters.avro import schemas as avro_schemas
from allocation.adapters.avro import serde as avro
from allocation.adapters.kafka import clients as kafka
from allocation.adapters.kafka import errors as kafka_errors
from allocation.adapters.postgres import engine as postgres
from allocation.adapters.postgres import schema
from allocation.service_layer import ports, topics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import sqlalchemy

    from allocation import config

# What a look at the services may end in: one does not answer, or lacks what `init` makes.
EXPECTED_FAILURES = (
    ports.Retryable,
    kafka_errors.KafkaRefused,
    schema.NotInitialised,
    avro_registry.SchemaNotRegistered,
)


def topic_names(settings: config.Settings) -> topics.TopicNames:
    """Return the names of all topics of this installation."""
    return topics.TopicNames(settings.topic_prefix)


@contextlib.contextmanager
def database(
    settings: config.Settings, *, keeps_connections: bool = True, who: str = ""
) -> Iterator[sqlalchemy.Engine]:
    """Open the connections to the database; `who` is what they are called there."""
    engine = postgres.create(settings.database_url, keeps_connections=keeps_connections, who=who)
    try:
        yield engine
    finally:
        engine.dispose()


def kafka_clients(settings: config.Settings) -> kafka.ClientConfig:
    """Return the settings of all Kafka clients."""
    return kafka.ClientConfig(settings.kafka_bootstrap_servers, settings.kafka_config)


@contextlib.contextmanager
def serde(settings: config.Settings, database: sqlalchemy.Engine) -> Iterator[avro.AvroSerde]:
    """Open the reader and writer of values; the ids of our own schemas, of all versions, are those that `init` kept.

    The registry is asked only for schemas of others. Raises `NotInitialised` when a schema has changed since `init`.
    """
    remembered, definitions = schema.remembered_schemas(database), avro_schemas.load()
    names = topic_names(settings)
    ids = {}
    for record_name, topic in (*names.commands.items(), *names.events.items()):
        subject = avro_schemas.subject(topic)
        schema_id = remembered.get(subject, {}).get(definitions[record_name])
        if schema_id is None:
            raise schema.NotInitialised(
                f"the schema of {subject} is not registered as it is now; run `allocation init`"
            )
        ids[record_name] = schema_id
    kept = _by_id(remembered.values())
    with avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config) as registry:
        yield avro.AvroSerde(ids=ids, lookup=lambda schema_id: kept.get(schema_id) or registry.definition(schema_id))


def _by_id(remembered: Iterable[Mapping[str, int]]) -> Mapping[int, str]:
    """Return definitions by id, without ids that stand for several: another registry gave them, so ask this one."""
    found: dict[int, set[str]] = defaultdict(set)
    for of_subject in remembered:
        for definition, schema_id in of_subject.items():
            found[schema_id].add(definition)
    return {schema_id: min(definitions) for schema_id, definitions in found.items() if len(definitions) == 1}
