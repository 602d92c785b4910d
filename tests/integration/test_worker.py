"""The worker as a process, on real Kafka and PostgreSQL: what operators and dead servers do to it."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import TYPE_CHECKING

import confluent_kafka
import pytest
import sqlalchemy

from allocation import bootstrap, config
from allocation.devstack import ports
from allocation.service_layer import brakes, topics
from tests import waiting
from tests.e2e import parts
from tests.integration import settled

if TYPE_CHECKING:
    from collections.abc import Callable

    from allocation import devstack

PARTITIONS = 2


@pytest.fixture
def installation(settings: config.Settings) -> config.Settings:
    few = settings.model_copy(update={"partitions": PARTITIONS})
    bootstrap.initialise(few, on_progress=lambda _text: None)
    return few


def send_lines(settings: config.Settings, *orders: str, sku: str = "LAMP") -> None:
    settled.send(settings, [("Allocate", {"orderid": order, "sku": sku, "qty": 1}, order) for order in orders])


def send_batch(settings: config.Settings, ref: str = "b1", sku: str = "LAMP") -> None:
    settled.send(settings, [("CreateBatch", {"ref": ref, "sku": sku, "qty": 1000}, ref)])


def orders(settings: config.Settings) -> list[str]:
    with bootstrap.database(settings) as database, database.connect() as connection:
        return list(connection.scalars(sqlalchemy.text("SELECT orderid FROM order_lines ORDER BY place")))


def has_orders(settings: config.Settings, *expected: str) -> Callable[[], bool]:
    def is_true() -> bool:
        return sorted(orders(settings)) == sorted(expected)

    return is_true


def move_group(settings: config.Settings, *, to: int) -> None:
    """Move the group's offsets of all command topics, as an operator would with Kafka's own tool."""
    group = confluent_kafka.Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": settings.consumer_group}
    )
    names = topics.TopicNames(settings.topic_prefix).commands.values()
    group.commit(
        offsets=[confluent_kafka.TopicPartition(name, number, to) for name in names for number in range(PARTITIONS)],
        asynchronous=False,
    )
    group.close()


def group_offsets(settings: config.Settings) -> dict[tuple[str, int], int]:
    group = confluent_kafka.Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap_servers, "group.id": settings.consumer_group}
    )
    names = topics.TopicNames(settings.topic_prefix).commands.values()
    asked = [confluent_kafka.TopicPartition(name, number) for name in names for number in range(PARTITIONS)]
    found = {(one.topic, one.partition): one.offset for one in group.committed(asked, timeout=10) if one.offset >= 0}
    group.close()
    return found


def stored_offsets(settings: config.Settings) -> dict[tuple[str, int], int]:
    query = sqlalchemy.text("SELECT topic, partition, next_offset FROM positions WHERE next_offset > 0")
    with bootstrap.database(settings) as database, database.connect() as connection:
        return {(row.topic, row.partition): row.next_offset for row in connection.execute(query)}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_worker_that_is_asked_to_stop_leaves_with_all_offsets_committed(
    installation: config.Settings, protocol: str
) -> None:
    given = installation.model_copy(update={"group_protocol": protocol})
    send_batch(given)
    send_lines(given, "o1", "o2")
    with parts.running("worker", given) as worker:
        waiting.wait_until(has_orders(given, "o1", "o2"), deadline_s=30)
        assert worker.stop() == 0
    assert group_offsets(given) == stored_offsets(given)


@pytest.mark.parametrize("to", [0, 1000], ids=["back", "forward"])
def test_a_group_whose_offsets_were_moved_handles_everything_once(installation: config.Settings, to: int) -> None:
    send_batch(installation)
    send_lines(installation, "o1", "o2")
    with parts.running("worker", installation) as worker:
        waiting.wait_until(has_orders(installation, "o1", "o2"), deadline_s=30)
        worker.stop()
    send_lines(installation, "o3")
    move_group(installation, to=to)
    with parts.running("worker", installation):
        waiting.wait_until(has_orders(installation, "o1", "o2", "o3"), deadline_s=30)
        send_lines(installation, "o4")
        waiting.wait_until(has_orders(installation, "o1", "o2", "o3", "o4"), deadline_s=30)
    with bootstrap.database(installation) as database, database.connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT topic FROM outbox WHERE sku IS NOT NULL")).all()
    assert len(rows) == 4


def test_batches_of_one_are_batches(installation: config.Settings) -> None:
    given = installation.model_copy(update={"batch_size": 1})
    send_batch(given)
    send_lines(given, "o1", "o2", "o3")
    with parts.running("worker", given) as worker:
        waiting.wait_until(has_orders(given, "o1", "o2", "o3"), deadline_s=30)
        worker.stop()
    sizes = [json.loads(line)["records"] for line in worker.said if "worker.batch" in line]
    assert sizes == [1] * 4


def ask(port: int, path: str) -> tuple[int, str]:
    """Return status and body of what the part on this port says."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def has_problems(port: int, *names: str) -> Callable[[], bool]:
    def is_true() -> bool:
        status, body = ask(port, "/readyz")
        return set(json.loads(body)["problems"]) == set(names) and status == (503 if names else 200)

    return is_true


def test_a_database_that_was_away_is_waited_for_without_giving_up_the_partitions(
    breakable_stack: devstack.Stack, installation: config.Settings
) -> None:
    (port,) = ports.pick(1)
    send_batch(installation)
    # Only the worker itself is to give them up: a busy machine may well silence it for some seconds.
    given = installation.model_copy(update={"health_port": port, "session_timeout_ms": 30_000})
    with parts.running("worker", given) as worker:
        worker.logged("worker.batch")
        waiting.wait_until(has_problems(port), deadline_s=30)
        breakable_stack.postgres.kill()
        send_lines(installation, "o1")
        worker.logged("worker.retrying")
        waiting.wait_until(has_problems(port, "database", "work"), deadline_s=30)
        assert ask(port, "/healthz") == (200, "OK")
        breakable_stack.start()
        waiting.wait_until(has_orders(installation, "o1"), deadline_s=30)
        waiting.wait_until(has_problems(port), deadline_s=30)
        send_rubbish(installation, messages=brakes.WINDOW)
        waiting.wait_until(has_problems(port, "circuit"), deadline_s=30)
        topic = f"{installation.topic_prefix}allocate"
        waiting.wait_until(lambda: lacking_in(ask(port, "/metrics")[1], topic=topic) == [], deadline_s=30)
        worker.stop()
    assert sum("worker.assigned" in line for line in worker.said) == 1
    named = [json.loads(line) for line in worker.said if '"worker.refused' in line]
    assert sum(line.get("messages", 1) for line in named) == brakes.WINDOW
    assert {line["reason"] for line in named if line["event"] == "worker.refused"} == {"undecodable"}


def send_rubbish(settings: config.Settings, *, messages: int) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": settings.kafka_bootstrap_servers})
    for _ in range(messages):
        producer.produce(f"{settings.topic_prefix}allocate", b"rubbish", partition=0)
    producer.flush()


def lacking_in(metrics: str, *, topic: str) -> list[str]:
    """Return which lines are not there of those that tell what was sent: a batch, a line, and a window of rubbish.

    A look may be a moment older than the batch that it is compared with.
    """
    place = f'messaging_destination_name="{topic}",messaging_destination_partition_id="0"'
    expected = (
        f'messaging_client_consumed_messages_total{{messaging_destination_name="{topic}"}} {brakes.WINDOW + 1}.0',
        f'allocation_commands_total{{messaging_destination_name="{topic}",outcome="refused"}} {brakes.WINDOW}.0',
        f'allocation_commands_total{{messaging_destination_name="{topic}",outcome="handled"}} 1.0',
        'allocation_events_total{cause="Allocate",type="LineAllocated"} 1.0',
        "allocation_maintenance_last_success_timestamp_seconds 0.0",
        'allocation_ready{check="circuit"} 0.0',
        'allocation_ready{check="database"} 1.0',
        'allocation_partitions{state="assigned"} 6.0',
        f"allocation_consumer_lag_messages{{{place}}} 0.0",
        f"allocation_consumer_lag_seconds{{{place}}} 0.0",
    )
    return [line for line in expected if line not in metrics.splitlines()]


def test_nothing_that_lies_on_a_topic_ends_the_worker(installation: config.Settings) -> None:
    topic = f"{installation.topic_prefix}allocate"
    producer = confluent_kafka.Producer({"bootstrap.servers": installation.kafka_bootstrap_servers})
    odd: list[list[tuple[str, str | bytes | None]]] = [
        [],
        [("", None)],
        [("ce_id", b"\xff\0" * 100)],
        [("ce_id", b"x" * 300)],
        [("ü", b""), ("ü", None)],
    ]
    for headers in odd:
        for value in (None, b"", b"\0", b"\0\0\0\0\0", b"\0\xff\xff\xff\xff", b"{}", b"x" * 900_000):
            producer.produce(topic, key=None, value=value, headers=headers, partition=0)
    producer.flush()
    send_batch(installation)
    send_lines(installation, "o1")
    with parts.running("worker", installation) as worker:
        waiting.wait_until(has_orders(installation, "o1"), deadline_s=30)
        assert worker.stop() == 0
    query = sqlalchemy.text("SELECT count(*) FROM outbox WHERE topic LIKE '%dead_letter' AND quarantined IS NULL")
    with bootstrap.database(installation) as database, database.connect() as connection:
        refused = connection.execute(query).scalar_one()
    # Of the seven with the same short id, all but the first reuse it.
    assert refused == 5 * 7
