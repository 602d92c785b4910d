"""The composition root: the one place where parts are chosen and joined.

Everything that is opened here is a context manager, closed in reverse by whoever entered it.
"""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allocation.adapters.avro import registry as avro_registry
from allocation.adapters.avro import schemas as avro_schemas
from allocation.adapters.avro import serde as avro
from allocation.adapters.email import mailer
from allocation.adapters.kafka import clients as kafka
from allocation.adapters.kafka import (
    command_log,
    event_log,
    log_reader,
    placement,
    relay_transaction,
    topic_specs,
    whole_logs,
)
from allocation.adapters.kafka import consumer as kafka_consumer
from allocation.adapters.kafka import errors as kafka_errors
from allocation.adapters.kafka import figures as kafka_figures
from allocation.adapters.kafka import forwarder as kafka_forwarder
from allocation.adapters.kafka import producer as kafka_producer
from allocation.adapters.kafka import topics as kafka_topics
from allocation.adapters.postgres import (
    bridge_positions,
    dedicated,
    leases,
    notifications,
    outbox_rows,
    schema,
    snapshot,
    waiting_room,
)
from allocation.adapters.postgres import engine as postgres
from allocation.adapters.postgres import figures as postgres_figures
from allocation.adapters.postgres import relay_shards as postgres_relay_shards
from allocation.adapters.postgres import unit_of_work as postgres_unit_of_work
from allocation.adapters.redis import connections as redis_connections
from allocation.adapters.redis import publisher
from allocation.adapters.redis import subscription as redis_subscription
from allocation.service_layer import (
    brakes,
    envelopes,
    failure_policy,
    grace,
    messagebus,
    messages,
    ports,
    processing,
    reading,
    topics,
    unit_of_work,
    working,
)
from allocation.service_layer.bridging import inbound, outbound, tenure
from allocation.service_layer.bridging import intake as bridge_intake
from allocation.service_layer.operations import producing, status, tailing
from allocation.service_layer.operations.verify import events as verified_events
from allocation.service_layer.operations.verify import verification as verify
from allocation.service_layer.relaying import duty, setting_up
from allocation.service_layer.relaying import ports as relaying

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    import redis
    import sqlalchemy

    from allocation import config
    from allocation.service_layer.bridging import ports as bridging

_READERS = {"LineAllocated": "redis", "OutOfStock": "email"}  # the names of their positions


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
        create_relay_shards(settings, engine)
        on_progress("relay: every shard has its checkpoint")


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
def worker(settings: config.Settings, *, stopping: threading.Event) -> Iterator[working.Worker]:
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
        commands = tuple(names.commands.values())
        consumer = kafka_consumer.GroupConsumer(
            kafka_clients(settings),
            names=commands,
            places=placement.Placement(admin, names=commands, stored=room.positions),
            group=settings.consumer_group,
            instance_id=settings.consumer_instance_id,
            protocol=settings.group_protocol,
            session_timeout_ms=settings.session_timeout_ms,
            give_up=stopping.is_set,
        )
        with contextlib.closing(consumer):
            yield working.Worker(
                consumer=consumer,
                processor=processor,
                policy=failure_policy.FailurePolicy(processor, max_retries=settings.max_retries),
                grace=grace.Grace(room=room, ends=lambda: _log_ends(admin, names.create_batch), processor=processor),
                brakes=brakes.Brakes(
                    circuit=brakes.Circuit(limit=settings.refusal_limit),
                    outbox_limit=settings.outbox_limit,
                    outbox_rows=room.outbox_rows,
                ),
                batch_size=brakes.BatchSize(settings.batch_size),
            )


@contextlib.contextmanager
def verification(settings: config.Settings) -> Iterator[verify.Verification]:
    """Open what compares commands, database and topics; raises `NotInitialised` when they do not belong together."""
    names = topic_names(settings)
    clients = kafka_clients(settings)
    with database(settings) as engine:
        cluster_id = kafka_topics.TopicAdmin(clients).cluster_id()
        schema.check_binding(engine, cluster_id=cluster_id, topic_prefix=settings.topic_prefix)
        avro_serde = serde(settings, engine)
        yield verify.Verification(
            database=snapshot.PostgresSnapshots(engine),
            logs=whole_logs.WholeLogs(clients),
            topics=names,
            messages=reading.MessageReader(topics=names, deserializer=avro_serde),
            events=verified_events.EventReader(topics=names, deserializer=avro_serde),
        )


def _log_ends(admin: kafka_topics.TopicAdmin, topic: str) -> Mapping[messages.LogPartition, int]:
    topic_id = admin.describe([topic])[topic].topic_id
    marks = admin.watermarks(admin.partitions([topic]))
    return {messages.LogPartition(topic_id, number): mark.end for (_, number), mark in marks.items()}


def create_relay_shards(settings: config.Settings, database: sqlalchemy.Engine, *, count: int = 1) -> None:
    """Give each shard of the outbox its first checkpoint; may be repeated. The topic must be there."""
    setting_up.create_shards(
        postgres_relay_shards.RelayShards(database),
        count=count,
        open_log=lambda *, shard, database_id: _relay_log(settings, shard=shard, database_id=database_id),
    )


def relay_shards(settings: config.Settings) -> Sequence[int]:
    """Return the shards of the outbox; raises `DependencyDown`, and `RelayStopped` when there are none."""
    with database(settings) as engine:
        return postgres_relay_shards.RelayShards(engine).all()


def relay(settings: config.Settings, *, shard: int) -> duty.Duty:
    """Return the relay of a shard; nothing is opened before it runs."""
    owner = leases.new_owner()
    return duty.Duty(
        shard=shard,
        connect=lambda: _relay_desk(settings, shard=shard, owner=owner),
        lease_s=settings.relay_lease_s,
    )


@contextlib.contextmanager
def _relay_desk(settings: config.Settings, *, shard: int, owner: str) -> Iterator[relaying.Desk]:
    with (
        database(settings) as engine,
        dedicated.connection(engine) as connection,
        notifications.Listener(engine) as listener,
    ):
        listener.wait(0)
        outbox = outbox_rows.OutboxRows(connection, shard=shard)
        database_id = outbox.state().database_id
        yield relaying.Desk(
            lease=leases.Lease(engine, name=f"relay-{shard}", duration_s=settings.relay_lease_s, owner=owner),
            outbox=outbox,
            hints=listener,
            open_log=lambda: _relay_log(settings, shard=shard, database_id=database_id),
        )


def _relay_log(
    settings: config.Settings, *, shard: int, database_id: str
) -> contextlib.AbstractContextManager[relay_transaction.RelayTransactions]:
    return relay_transaction.open_log(
        kafka_clients(settings),
        topic=topic_names(settings).relay_checkpoint,
        shard=shard,
        transactional_id=f"{settings.topic_prefix}allocation-relay-{database_id}-{shard}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What the HTTP API is made of; `connect` lends a connection that reads what is committed."""

    log: command_log.CommandLog
    envelopes: envelopes.Envelopes
    connect: Callable[[], contextlib.AbstractContextManager[sqlalchemy.Connection]]
    hints: notifications.Listener


@contextlib.contextmanager
def api(settings: config.Settings) -> Iterator[Api]:
    """Open what the HTTP API needs; raises `NotInitialised` where `init` did not run, `DependencyDown`.

    Kafka may be away: then calls that read are answered all the same.
    """
    names = topic_names(settings)
    clients = kafka_clients(settings)
    # What Kafka has not taken when a call's time is over is dropped soon after: the caller was told so.
    waiting_s = settings.http_timeout_s
    with (
        database(settings) as engine,
        kafka_producer.Producer(clients, delivery_timeout_s=waiting_s) as producer,
        notifications.Listener(engine) as hints,
    ):
        yield Api(
            log=command_log.CommandLog(clients, producer=producer, command_topics=names.commands.values()),
            envelopes=envelopes.Envelopes(topics=names, serializer=serde(settings, engine)),
            connect=functools.partial(postgres.reading, engine),
            hints=hints,
        )


@contextlib.contextmanager
def bridge(settings: config.Settings) -> Iterator[tenure.Bridge]:
    """Open a bridge; raises `DependencyDown`, and `NotInitialised` if the database does not belong to these topics."""
    names, clients = topic_names(settings), kafka_clients(settings)
    with database(settings) as engine, redis_connections.connect(settings.redis_url) as client:
        admin = kafka_topics.TopicAdmin(clients)
        schema.check_binding(engine, cluster_id=admin.cluster_id(), topic_prefix=settings.topic_prefix)
        avro_serde = serde(settings, engine)
        lease = leases.Lease(engine, name="bridge", duration_s=tenure.LEASE_S)
        intake = bridge_intake.Intake(topics=names, envelopes=envelopes.Envelopes(topics=names, serializer=avro_serde))
        forwarder = kafka_forwarder.Forwarder(
            clients, transactional_id=f"{settings.topic_prefix}allocation-bridge-{schema.database_id(engine)}"
        )
        with contextlib.closing(forwarder):
            incoming = inbound.Inbound(
                intake=intake,
                subscribe=lambda: redis_subscription.subscribe(url=settings.redis_url, channels=intake.channels),
                forwarder=forwarder,
                lease=lease,
            )
            outgoing = _bridge_routes(settings, engine, admin, avro_serde, client)
            yield tenure.Bridge(lease=lease, jobs=(incoming, *outgoing))


def _bridge_routes(
    settings: config.Settings,
    engine: sqlalchemy.Engine,
    admin: kafka_topics.TopicAdmin,
    deserializer: avro.AvroSerde,
    client: redis.Redis,
) -> Iterator[outbound.Outbound]:
    """Return what passes events on: to Redis, and by e-mail if there is a mail server."""
    names = topic_names(settings)
    allocations = publisher.Publisher(client=client, channel=names.line_allocated)
    sinks: dict[str, bridging.Sink] = {"LineAllocated": allocations}
    if settings.smtp_url is not None:
        sinks["OutOfStock"] = mailer.Mailer(
            url=settings.smtp_url, sender=settings.email_from, recipient=settings.email_to
        )
    for record_name, sink in sinks.items():
        topic = names.events[record_name]
        yield outbound.Outbound(
            route=outbound.Route(reader=_READERS[record_name], topic=topic, record_name=record_name),
            open_log=functools.partial(event_log.open_log, kafka_clients(settings), admin=admin, topic=topic),
            deserializer=deserializer,
            sink=sink,
            positions=bridge_positions.BridgePositions(engine),
        )


def establish_bridge(settings: config.Settings) -> None:
    """Fix where the bridge begins with the events, if it has never run: from then on it passes every one on."""
    with database(settings) as engine, redis_connections.connect(settings.redis_url) as client:
        admin = kafka_topics.TopicAdmin(kafka_clients(settings))
        for route in _bridge_routes(settings, engine, admin, serde(settings, engine), client):
            route.establish()


@contextlib.contextmanager
def command_sender(settings: config.Settings) -> Iterator[producing.Sender]:
    """Open what sends commands, with Kafka and the registry alone; raises `SchemaNotRegistered`, `DependencyDown`."""
    names = topic_names(settings)
    with avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config) as registry:
        avro_serde = avro.AvroSerde(ids=_command_schemas(registry, names), lookup=registry.definition)
        with kafka_producer.Producer(kafka_clients(settings)) as producer:
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
        decoder = tailing.Decoder(topics=topic_names(settings), deserializer=deserializer)
        records = log_reader.LogReader(kafka_clients(settings)).read(names, start=start, follow=follow, stop=stop)
        yield from map(decoder.line, records)


@contextlib.contextmanager
def inspection(settings: config.Settings) -> Iterator[status.Inspection]:
    """Open what looks at an installation, whichever of its parts are up."""
    names = topic_names(settings)
    with (
        database(settings) as engine,
        avro_registry.Registry(settings.schema_registry_url, settings.schema_registry_config) as registry,
        redis_connections.connect(settings.redis_url) as client,
    ):
        yield status.Inspection(
            kafka=kafka_figures.KafkaFigures(kafka_clients(settings), names=names, group=settings.consumer_group),
            database=postgres_figures.DatabaseFigures(engine),
            fits=functools.partial(schema.check_binding, engine, topic_prefix=settings.topic_prefix),
            others={
                "schema registry": lambda: _command_schemas(registry, names),
                "Redis": lambda: redis_connections.check(client),
            },
            expected=(
                ports.Retryable,
                kafka_errors.KafkaRefused,
                schema.NotInitialised,
                avro_registry.SchemaNotRegistered,
            ),
        )
