"""Set an installation up: topics, tables, schemas, the relay's checkpoints, the bridge's starting points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.kafka import topic_specs
from allocation.adapters.kafka import topics as kafka_topics
from allocation.adapters.postgres import schema
from allocation.bootstrap import bridging, connections, contracting, relaying
from allocation.service_layer import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from allocation import config


def initialise(settings: config.Settings, *, on_progress: Callable[[str], None]) -> None:
    """Create what is missing of topics, tables and schemas; may be repeated, and changes nothing that is there."""
    names = connections.topic_names(settings)
    admin = kafka_topics.TopicAdmin(connections.kafka_clients(settings))
    cluster_id = admin.cluster_id()
    specs = topic_specs.topic_specs(names, partitions=settings.partitions, replicas=settings.replication_factor)
    created = admin.create(specs)
    on_progress(f"topics: {len(created)} created on cluster {cluster_id}")
    in_force = admin.settings(spec.name for spec in specs)
    for warning in filter(None, (topic_specs.short_lived(spec, in_force[spec.name]) for spec in specs)):
        on_progress(f"warning: {warning}")
    with connections.database(settings) as engine:
        is_ours = schema.migrate(engine)
        schema.bind(engine, cluster_id=cluster_id, topic_prefix=settings.topic_prefix)
        schema.begin_positions(engine, _begins(admin, tuple(names.commands.values())))
        on_progress("database: migrated" if is_ours else "database: left as a newer version has made it")
        registered = contracting.register_schemas(settings, hold=False)
        schema.remember_schemas(engine, {one.subject: (one.schema_id, one.definition) for one in registered})
        on_progress("schemas: registered")
        relaying.create_relay_shards(settings, engine)
        on_progress("relay: every shard has its checkpoint")
    bridging.establish_bridge(settings)
    on_progress("bridge: its starting points are fixed")


def _begins(
    admin: kafka_topics.TopicAdmin, command_topics: Sequence[str]
) -> Mapping[str, Mapping[messages.LogPartition, int]]:
    topic_ids = {topic: description.topic_id for topic, description in admin.describe(command_topics).items()}
    begins: dict[str, dict[messages.LogPartition, int]] = {topic: {} for topic in command_topics}
    for (topic, number), marks in admin.watermarks(admin.partitions(command_topics)).items():
        begins[topic][messages.LogPartition(topic_ids[topic], number)] = marks.begin
    return begins
