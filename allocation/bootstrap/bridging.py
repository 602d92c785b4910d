"""Compose the bridge."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from allocation.adapters.email import mailer
from allocation.adapters.kafka import event_log
from allocation.adapters.kafka import forwarder as kafka_forwarder
from allocation.adapters.kafka import topics as kafka_topics
from allocation.adapters.postgres import bridge_positions, leases, schema
from allocation.adapters.redis import connections as redis_connections
from allocation.adapters.redis import publisher
from allocation.adapters.redis import subscription as redis_subscription
from allocation.service_layer import envelopes, signals
from allocation.service_layer.bridging import inbound, outbound, tenure
from allocation.service_layer.bridging import intake as bridge_intake

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    import sqlalchemy

    from allocation import config
    from allocation.adapters.avro import serde as avro
    from allocation.service_layer.bridging import ports as bridging

from allocation.bootstrap import connections

_READERS = {"LineAllocated": "redis", "OutOfStock": "email"}  # the names of their positions


@contextlib.contextmanager
def bridge(settings: config.Settings, *, signals: signals.Signals = signals.SILENT) -> Iterator[tenure.Bridge]:
    """Open a bridge; raises `DependencyDown`, and `NotInitialised` if the database does not belong to these topics."""
    names, clients = connections.topic_names(settings), connections.kafka_clients(settings)
    with (
        connections.database(settings) as engine,
        connections.serde(settings, engine) as avro_serde,
        redis_connections.connect(settings.redis_url) as client,
    ):
        admin = kafka_topics.TopicAdmin(clients)
        schema.check_binding(engine, cluster_id=admin.cluster_id(), topic_prefix=settings.topic_prefix)
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
                signals=signals,
            )
            outgoing = _bridge_routes(settings, engine, admin, avro_serde, client, signals)
            yield tenure.Bridge(lease=lease, jobs=(incoming, *outgoing), signals=signals)


def _bridge_routes(
    settings: config.Settings,
    engine: sqlalchemy.Engine,
    admin: kafka_topics.TopicAdmin,
    deserializer: avro.AvroSerde,
    client: redis.Redis,
    signals: signals.Signals = signals.SILENT,
) -> Iterator[outbound.Outbound]:
    """Return what passes events on: to Redis, and by e-mail if there is a mail server."""
    names = connections.topic_names(settings)
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
            open_log=functools.partial(
                event_log.open_log, connections.kafka_clients(settings), admin=admin, topic=topic
            ),
            deserializer=deserializer,
            sink=sink,
            positions=bridge_positions.BridgePositions(engine),
            signals=signals,
        )


def establish_bridge(settings: config.Settings) -> None:
    """Fix where the bridge begins with the events, if it has never run: from then on it passes every one on."""
    with (
        connections.database(settings) as engine,
        connections.serde(settings, engine) as avro_serde,
        redis_connections.connect(settings.redis_url) as client,
    ):
        admin = kafka_topics.TopicAdmin(connections.kafka_clients(settings))
        for route in _bridge_routes(settings, engine, admin, avro_serde, client):
            route.establish()
