"""Compose the description of the topics; nothing is opened for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from allocation.adapters.avro import registry as avro_registry
from allocation.adapters.avro import schemas as avro_schemas
from allocation.adapters.kafka import topic_specs
from allocation.service_layer.operations.asyncapi import document

if TYPE_CHECKING:
    from allocation import config

from allocation.bootstrap import connections

_LISTS = {"cleanup.policy"}
_NUMBERS = {"retention.ms", "retention.bytes", "max.message.bytes"}


def asyncapi(settings: config.Settings) -> dict[str, Any]:
    """Return the AsyncAPI document of an installation with these settings, without their credentials."""
    names = connections.topic_names(settings)
    specs = topic_specs.topic_specs(names, partitions=settings.partitions, replicas=settings.replication_factor)
    return document.document(
        document.Installation(
            names=names,
            definitions={name: json.loads(text) for name, text in avro_schemas.load().items()},
            servers=tuple(server.strip() for server in settings.kafka_bootstrap_servers.split(",")),
            registry_url=avro_registry.without_credentials(settings.schema_registry_url),
            group=settings.consumer_group,
            bindings={spec.name: _binding(spec) for spec in specs},
        )
    )


def _binding(spec: topic_specs.TopicSpec) -> dict[str, Any]:
    """Return a topic in the form of the Kafka channel binding 0.5.0."""
    configuration: dict[str, Any] = {name: [spec.config[name]] for name in spec.config.keys() & _LISTS}
    configuration |= {name: int(spec.config[name]) for name in sorted(spec.config.keys() & _NUMBERS)}
    return {"partitions": spec.partitions, "replicas": spec.replicas, "topicConfiguration": configuration}
