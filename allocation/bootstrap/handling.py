"""Compose the worker."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from allocation.adapters.kafka import consumer as kafka_consumer
from allocation.adapters.kafka import placement
from allocation.adapters.kafka import topics as kafka_topics
from allocation.adapters.postgres import engine as postgres
from allocation.adapters.postgres import schema, waiting_room
from allocation.adapters.postgres import unit_of_work as postgres_unit_of_work
from allocation.service_layer import (
    brakes,
    envelopes,
    failure_policy,
    grace,
    messages,
    processing,
    reading,
    signals,
    working,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

    from allocation import config

from allocation.bootstrap import connections, repairing


@contextlib.contextmanager
def worker(
    settings: config.Settings, *, stopping: threading.Event, signals: signals.Signals = signals.SILENT
) -> Iterator[working.Worker]:
    """Open a worker; raises `NotInitialised` when the database does not belong to these topics, or is older."""
    names = connections.topic_names(settings)
    # By this name its end is seen at once: Kafka misses a member only when its session is over.
    who = postgres.OF_WORKER + (settings.consumer_instance_id or f"{socket.gethostname()}:{os.getpid()}")
    with connections.database(settings, who=who) as engine, connections.serde(settings, engine) as avro_serde:
        admin = kafka_topics.TopicAdmin(connections.kafka_clients(settings))
        schema.check_binding(engine, cluster_id=admin.cluster_id(), topic_prefix=settings.topic_prefix)
        currency = repairing.currency(settings, engine)
        currency.check()
        room = waiting_room.PostgresWaitingRoom(engine)
        processor = processing.Processor(
            begin=lambda: postgres_unit_of_work.PostgresUnitOfWork(engine, journal_topic=names.journal),
            reader=reading.MessageReader(topics=names, deserializer=avro_serde),
            envelopes=envelopes.Envelopes(topics=names, serializer=avro_serde),
            grace_s=settings.grace_s,
        )
        commands = tuple(names.commands.values())
        consumer = kafka_consumer.GroupConsumer(
            connections.kafka_clients(settings),
            names=commands,
            places=placement.Placement(admin, names=commands, stored=room.positions, first=names.create_batch),
            group=settings.consumer_group,
            instance_id=settings.consumer_instance_id,
            protocol=settings.group_protocol,
            session_timeout_ms=settings.session_timeout_ms,
            give_up=stopping.is_set,
            on_placed=processor.forget,
        )
        with contextlib.closing(consumer):
            policy = failure_policy.FailurePolicy(processor, max_retries=settings.max_retries)
            braked = brakes.Brakes(
                circuit=brakes.Circuit(limit=settings.refusal_limit),
                outbox_limit=settings.outbox_limit,
                database=room.brakes,
            )
            yield working.Worker(
                consumer=consumer,
                processor=processor,
                policy=policy,
                grace=grace.Grace(
                    room=room,
                    ends=lambda: _log_ends(admin, names.create_batch),
                    processor=processor,
                    policy=policy,
                    may_release=lambda: braked.reason is None,
                ),
                currency=currency,
                brakes=braked,
                batch_size=brakes.BatchSize(settings.batch_size),
                signals=signals,
            )


def _log_ends(admin: kafka_topics.TopicAdmin, topic: str) -> Mapping[messages.LogPartition, int] | None:
    described = admin.describe([topic])
    if topic not in described:
        return None
    marks = admin.watermarks(admin.partitions([topic]))
    return {messages.LogPartition(described[topic].topic_id, number): mark.end for (_, number), mark in marks.items()}
