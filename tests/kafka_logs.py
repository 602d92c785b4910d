"""Topics of a test's own on the shared cluster, and what lies in them."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import confluent_kafka
from confluent_kafka import admin

from allocation.adapters.kafka import clients, log_reader, topic_specs, topics
from allocation.service_layer import messages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack

# Nothing listens there, and a connection is refused at once.
NOWHERE = "127.0.0.1:1"
# The markers of a transaction follow its commit within milliseconds, or somewhat later on a busy machine.
_SETTLE_TIMEOUT_S = 30.0


def a_name() -> str:
    """Return a name that no other test has."""
    return f"test-{uuid.uuid4().hex[:12]}"


def a_config(endpoints: devstack.Endpoints, **extra: object) -> clients.ClientConfig:
    return clients.ClientConfig(endpoints.kafka_bootstrap_servers, extra)


def a_topic(endpoints: devstack.Endpoints, *, partitions: int = 1, **config: str) -> str:
    """Create a topic and return its name."""
    name = a_name()
    named = {setting.replace("_", "."): value for setting, value in config.items()}
    topics.TopicAdmin(a_config(endpoints)).create([topic_specs.TopicSpec(name, partitions, 1, named)])
    return name


def a_message(topic: str, value: bytes | None = b"value", **more: Any) -> messages.OutboxMessage:
    return messages.OutboxMessage(topic=topic, value=value, **{"key": b"key", "headers": (), **more})


def records(endpoints: devstack.Endpoints, *names: str) -> list[messages.Record]:
    """Return all committed records of the topics, also those whose commit has only just been confirmed."""
    return list(log_reader.LogReader(a_config(endpoints)).read(names, settle_timeout_s=_SETTLE_TIMEOUT_S))


def values(endpoints: devstack.Endpoints, *names: str) -> list[bytes | None]:
    return [record.value for record in records(endpoints, *names)]


def raw_admin(endpoints: devstack.Endpoints) -> admin.AdminClient:
    """Return the library's own admin client; keep it until its answers are there."""
    return admin.AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap_servers})


def delete_records(endpoints: devstack.Endpoints, topic: str, *, before: int) -> None:
    partition = confluent_kafka.TopicPartition(topic, 0, before)
    client = raw_admin(endpoints)
    client.delete_records([partition])[partition].result()


@contextlib.contextmanager
def a_transactional_producer(endpoints: devstack.Endpoints) -> Iterator[confluent_kafka.Producer]:
    producer = confluent_kafka.Producer(a_config(endpoints).producer(**{"transactional.id": a_name()}))
    producer.init_transactions()
    yield producer
    with contextlib.suppress(confluent_kafka.KafkaException):
        producer.abort_transaction()


def write_transaction(producer: confluent_kafka.Producer, topic: str, *written: bytes, commit: bool | None) -> None:
    """Write the values in one transaction; `commit` None leaves it open."""
    producer.begin_transaction()
    for value in written:
        producer.produce(topic, value=value, partition=0)
    producer.flush()
    if commit is not None:
        (producer.commit_transaction if commit else producer.abort_transaction)()
