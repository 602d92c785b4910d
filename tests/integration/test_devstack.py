from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import textwrap
import time
import uuid
from typing import TYPE_CHECKING

import confluent_kafka
import confluent_kafka.admin
import confluent_kafka.schema_registry
import psycopg2
import pytest
import redis
from confluent_kafka import cimpl

from allocation import devstack
from allocation.devstack import ports
from allocation.devstack.redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stacks import RunningStack

SCHEMA = '{"type": "record", "name": "Probe", "fields": [{"name": "qty", "type": "int"}]}'
DEADLINE_S = 20.0


def query(endpoints: devstack.Endpoints, sql: str) -> object:
    connection = psycopg2.connect(endpoints.database_url.replace("+psycopg2", ""))
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            rows = cursor.fetchone() if cursor.description else None
            return rows and rows[0]
    finally:
        connection.close()


def register_schema(endpoints: devstack.Endpoints, subject: str) -> int:
    client = confluent_kafka.schema_registry.SchemaRegistryClient({"url": endpoints.schema_registry_url})
    with client:
        schema = confluent_kafka.schema_registry.Schema(SCHEMA, "AVRO")
        schema_id: int = client.register_schema(subject, schema)
        return schema_id


def create_topic(endpoints: devstack.Endpoints, topic: str) -> None:
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap_servers})
    created = admin.create_topics([cimpl.NewTopic(topic, 1)])
    created[topic].result(DEADLINE_S)


def produce(endpoints: devstack.Endpoints, topic: str, value: bytes, **config: object) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": endpoints.kafka_bootstrap_servers, **config})
    failures: list[confluent_kafka.KafkaError] = []
    producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(DEADLINE_S) == 0
    if failures:
        raise confluent_kafka.KafkaException(failures[0])


def consume_one(endpoints: devstack.Endpoints, topic: str) -> bytes | None:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": endpoints.kafka_bootstrap_servers, "group.id": uuid.uuid4().hex}
    )
    try:
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
        message = consumer.poll(DEADLINE_S)
        assert message is not None
        assert message.error() is None
        value: bytes | None = message.value()
        return value
    finally:
        consumer.close()


@pytest.fixture
def topic(endpoints: devstack.Endpoints) -> str:
    name = f"probe-{uuid.uuid4().hex}"
    create_topic(endpoints, name)
    return name


# What programs find there.


def test_the_database_commits_durably_and_takes_many_sessions(stack: RunningStack) -> None:
    if not isinstance(stack, devstack.Stack):
        pytest.skip("the settings of others' databases are theirs")
    assert query(stack.endpoints, "SHOW synchronous_commit") == "on"
    assert query(stack.endpoints, "SHOW fsync") == "on"
    assert query(stack.endpoints, "SHOW max_connections") == "200"
    assert query(stack.endpoints, "SHOW server_encoding") == "UTF8"


def test_redis_answers(endpoints: devstack.Endpoints) -> None:
    with redis.Redis.from_url(endpoints.redis_url) as client:
        assert client.ping()


def test_the_registry_gives_one_schema_one_id(endpoints: devstack.Endpoints) -> None:
    first = register_schema(endpoints, f"{uuid.uuid4().hex}-value")
    assert register_schema(endpoints, f"{uuid.uuid4().hex}-value") == first


def test_the_broker_takes_a_dead_letter_larger_than_a_megabyte(endpoints: devstack.Endpoints) -> None:
    topic = f"probe-{uuid.uuid4().hex}"
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": endpoints.kafka_bootstrap_servers})
    config = {"max.message.bytes": str(1024 * 1024 + 64 * 1024)}
    admin.create_topics([cimpl.NewTopic(topic, 1, config=config)])[topic].result(DEADLINE_S)
    value = os.urandom(1024 * 1024)
    produce(endpoints, topic, value, **{"message.max.bytes": 2 * 1024 * 1024})
    assert consume_one(endpoints, topic) == value


def test_producing_to_a_misspelt_topic_makes_none(stack: RunningStack) -> None:
    if not isinstance(stack, devstack.Stack):
        pytest.skip("others' brokers may make topics")
    with pytest.raises(confluent_kafka.KafkaException) as raised:
        produce(stack.endpoints, "alocate", b"", **{"message.timeout.ms": 1500})
    assert raised.value.args[0].code() in {
        confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART,
        confluent_kafka.KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - public, whatever its name
        confluent_kafka.KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
    }


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_group_may_ask_for_short_sessions(endpoints: devstack.Endpoints, topic: str, protocol: str) -> None:
    session = {"session.timeout.ms": 2000} if protocol == "classic" else {}
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": endpoints.kafka_bootstrap_servers,
            "group.id": uuid.uuid4().hex,
            "group.protocol": protocol,
            "auto.offset.reset": "earliest",
            **session,
        }
    )
    try:
        consumer.subscribe([topic])
        produce(endpoints, topic, b"here")
        message = consumer.poll(DEADLINE_S)
        assert message is not None
        assert message.value() == b"here"
    finally:
        consumer.close()


def test_kafkas_own_tools_talk_to_the_broker(endpoints: devstack.Endpoints, topic: str) -> None:
    result = devstack.kafka_tool("kafka-topics", "--bootstrap-server", endpoints.kafka_bootstrap_servers, "--list")
    assert result.returncode == 0, result.stderr
    assert topic in result.stdout.splitlines()


def test_an_unknown_tool_is_refused_with_the_known_ones() -> None:
    with pytest.raises(devstack.DevstackError, match=r"kafka-teapot is no tool .*kafka-consumer-groups"):
        devstack.kafka_tool("kafka-teapot")


def test_a_tool_that_takes_too_long_is_ended(endpoints: devstack.Endpoints, topic: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        devstack.kafka_tool(
            *("kafka-console-consumer", "--bootstrap-server", endpoints.kafka_bootstrap_servers, "--topic", topic),
            timeout_s=0.1,
        )


# What happens when one of them dies.


def test_a_killed_database_comes_back_with_what_was_committed(breakable_stack: devstack.Stack) -> None:
    table = f"probe_{uuid.uuid4().hex}"
    query(breakable_stack.endpoints, f"CREATE TABLE {table} AS SELECT 7 AS qty")
    restart_after_kill(breakable_stack.postgres)
    assert query(breakable_stack.endpoints, f"SELECT qty FROM {table}") == 7


def test_a_killed_broker_comes_back_with_what_it_acknowledged(breakable_stack: devstack.Stack, topic: str) -> None:
    produce(breakable_stack.endpoints, topic, b"kept")
    restart_after_kill(breakable_stack.kafka)
    assert consume_one(breakable_stack.endpoints, topic) == b"kept"


def test_a_killed_registry_comes_back_with_its_ids(breakable_stack: devstack.Stack) -> None:
    subject = f"{uuid.uuid4().hex}-value"
    schema_id = register_schema(breakable_stack.endpoints, subject)
    restart_after_kill(breakable_stack.registry)
    assert register_schema(breakable_stack.endpoints, subject) == schema_id


def test_a_killed_redis_comes_back(breakable_stack: devstack.Stack) -> None:
    restart_after_kill(breakable_stack.redis)
    with redis.Redis.from_url(breakable_stack.endpoints.redis_url) as client:
        assert client.ping()


def test_a_stopped_service_has_no_process_id(breakable_stack: devstack.Stack) -> None:
    breakable_stack.redis.stop()
    with pytest.raises(devstack.DevstackError, match=r"Redis \(Valkey\) is not running"):
        _ = breakable_stack.redis.pid


def restart_after_kill(service: devstack.Service) -> None:
    killed = service.pid
    service.kill()
    service.start()
    service.wait_ready()
    assert service.pid != killed


# What is said when one cannot start.


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server((ports.HOST, 0)) as server:
        yield server.getsockname()[1]


def test_a_service_that_cannot_start_says_what_it_printed_and_where_its_log_is(tmp_path: Path, taken_port: int) -> None:
    service = Redis(directory=tmp_path / "redis", port=taken_port)
    service.start()
    with pytest.raises(devstack.DevstackError) as raised:
        service.wait_ready()
    message = str(raised.value)
    assert "Redis (Valkey) stopped while it was starting (exit code 1)" in message
    assert "Address already in use" in message
    assert str(tmp_path / "redis.log") in message


# Whole stacks.


@pytest.fixture
def second_stack(tmp_path: Path) -> Iterator[devstack.Stack]:
    with devstack.Stack(tmp_path / "second") as stack:
        yield stack


def test_two_stacks_run_side_by_side_and_a_directory_serves_one_at_a_time(
    endpoints: devstack.Endpoints, second_stack: devstack.Stack
) -> None:
    first, second = endpoints.environment(), second_stack.endpoints.environment()
    assert not set(first.values()) & set(second.values())
    assert query(endpoints, "SELECT 1") == query(second_stack.endpoints, "SELECT 1") == 1

    with pytest.raises(devstack.DevstackError, match="Another stack is running with the data in"):
        devstack.Stack(second_stack.directory).start()
    assert query(second_stack.endpoints, "SELECT 1") == 1


HOLD_A_STACK = textwrap.dedent("""
    import pathlib, sys, threading
    from allocation import devstack
    stack = devstack.Stack(pathlib.Path(sys.argv[1]))
    starter = threading.Thread(target=stack.start)  # which ends before the stack does
    starter.start()
    starter.join()
    print(*(service.pid for service in stack.services), flush=True)
    threading.Event().wait()
""")


def test_no_service_outlives_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_STACK, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 4
        ends = [os.pidfd_open(pid) for pid in pids]
        parent.kill()
    wait_for_all(ends)


def wait_for_all(process_descriptors: list[int]) -> None:
    """A process descriptor becomes readable when its process has ended."""
    deadline = time.monotonic() + DEADLINE_S
    for descriptor in process_descriptors:
        ended, _, _ = select.select([descriptor], [], [], max(0, deadline - time.monotonic()))
        os.close(descriptor)
        assert ended
