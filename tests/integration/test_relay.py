"""The relay over real parts: what arrives, what is set aside, what it outlasts, and where it stops."""

from __future__ import annotations

import contextlib
import threading
from concurrent import futures
from typing import TYPE_CHECKING

import confluent_kafka
import pytest
import sqlalchemy
from confluent_kafka import admin

from allocation import bootstrap
from allocation.adapters.postgres import outbox_rows, tables
from allocation.service_layer.relaying import ports
from tests import kafka_logs, outbox_load, waiting
from tests.e2e import parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import config, devstack

MAX_MESSAGE_BYTES = 100_000
# More than the topic takes, less than our client does.
TOO_LARGE_BYTES = 200_000
# More than our client takes.
FAR_TOO_LARGE_BYTES = 2_000_000


@pytest.fixture(scope="module")
def installation(endpoints: devstack.Endpoints) -> Iterator[outbox_load.Load]:
    with outbox_load.an_installation(endpoints) as load:
        yield load


@pytest.fixture
def load(installation: outbox_load.Load, endpoints: devstack.Endpoints) -> outbox_load.Load:
    """The outbox of the installation, empty, and a topic of the test's own."""
    with installation.database.begin() as connection:
        connection.execute(tables.outbox.delete())
    topic = kafka_logs.a_topic(endpoints, partitions=3, max_message_bytes=str(MAX_MESSAGE_BYTES))
    return outbox_load.Load(installation.settings, installation.database, topic=topic)


@contextlib.contextmanager
def a_running_relay(settings: config.Settings) -> Iterator[None]:
    """Run the relay in a thread until the block ends; what stopped it before is raised there."""
    stopping = threading.Event()
    with futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(bootstrap.relay(settings, shard=0).run, stopping)
        try:
            yield
        finally:
            stopping.set()
        running.result()


def relay_all(load: outbox_load.Load) -> None:
    with a_running_relay(load.settings):
        load.wait_until_sent()


def insert(load: outbox_load.Load, *, sku: str, value: bytes, topic: str | None = None) -> int:
    """Commit one row and return its id."""
    row = {"shard": 0, "topic": topic or load.topic, "key": sku.encode(), "value": value, "headers": "[]", "sku": sku}
    with load.database.begin() as connection:
        statement = tables.outbox.insert().values(row).returning(tables.outbox.c.id)
        return int(connection.execute(statement).scalar_one())


def test_what_is_committed_while_it_runs_arrives_at_once_and_in_order(load: outbox_load.Load) -> None:
    with a_running_relay(load.settings):
        for sku in ("LAMP", "CHAIR", "LAMP"):
            load.write(sku=sku, rows=3)
            load.wait_until_sent()
    load.check_published()


def test_a_backlog_of_several_passes_arrives_once(load: outbox_load.Load) -> None:
    for sku in ("LAMP", "CHAIR"):
        load.write(sku=sku, rows=6000)
    relay_all(load)
    load.check_published()


def test_a_row_without_a_hint_is_found_soon(load: outbox_load.Load) -> None:
    with a_running_relay(load.settings):
        load.write()
        load.wait_until_sent()
        insert(load, sku="CHAIR", value=b"CHAIR:0")
        load.wait_until_sent()
    assert outbox_load.published(load.settings, load.topic) == {"LAMP": [0], "CHAIR": [0]}


def test_a_partition_that_a_row_names_is_where_it_goes(load: outbox_load.Load, endpoints: devstack.Endpoints) -> None:
    rows = [
        {"shard": 0, "topic": load.topic, "partition": number, "key": b"same", "value": b"%d" % number, "headers": "[]"}
        for number in range(3)
    ]
    with load.database.begin() as connection:
        connection.execute(tables.outbox.insert(), rows)
    relay_all(load)
    found = {record.partition: record.value for record in kafka_logs.records(endpoints, load.topic)}
    assert found == {0: b"0", 1: b"1", 2: b"2"}


@pytest.mark.parametrize("size_bytes", [TOO_LARGE_BYTES, FAR_TOO_LARGE_BYTES])
def test_a_row_too_large_for_its_topic_is_set_aside_with_its_sku_and_all_others_go_on(
    load: outbox_load.Load, size_bytes: int
) -> None:
    load.write(sku="LAMP")
    insert(load, sku="LAMP", value=b"LAMP:1" + b" " * size_bytes)
    load.write(sku="CHAIR", rows=20)
    insert(load, sku="LAMP", value=b"LAMP:2")
    with a_running_relay(load.settings):
        waiting.wait_until(lambda: load.unsent() == 2, deadline_s=30)
    assert outbox_load.published(load.settings, load.topic) == {"LAMP": [0], "CHAIR": list(range(20))}


def test_a_released_row_is_sent_in_its_place_once_its_topic_takes_it(
    load: outbox_load.Load, endpoints: devstack.Endpoints
) -> None:
    large = insert(load, sku="LAMP", value=b"LAMP:0" + b" " * TOO_LARGE_BYTES)
    with a_running_relay(load.settings):
        waiting.wait_until(lambda: is_quarantined(load, large), deadline_s=30)
        insert(load, sku="LAMP", value=b"LAMP:1")
        allow_large_messages(endpoints, load.topic)
        assert outbox_rows.release(load.database, row_id=large) >= 1
        load.wait_until_sent()
    assert outbox_load.published(load.settings, load.topic) == {"LAMP": [0, 1]}


def test_a_topic_that_is_missing_is_waited_for(load: outbox_load.Load, endpoints: devstack.Endpoints) -> None:
    missing = kafka_logs.a_name()
    insert(load, sku="LAMP", value=b"LAMP:0", topic=missing)
    settings = load.settings.model_copy(update={"kafka_config": {"topic.metadata.propagation.max.ms": 200}})
    with parts.running("relay", settings) as relay:
        assert f"send to topic {missing}" in relay.logged("relay.paused")["error"]
        create_topic(endpoints, missing)
        relay.logged("relay.active")
        load.wait_until_sent()
    assert outbox_load.published(load.settings, missing) == {"LAMP": [0]}


def test_outages_of_kafka_and_of_the_database_are_outlasted(
    load: outbox_load.Load, breakable_stack: devstack.Stack
) -> None:
    with parts.running("relay", load.settings) as relay:
        relay.logged("relay.active")
        breakable_stack.kafka.kill()
        load.write(rows=10)
        start(breakable_stack.kafka)
        load.wait_until_sent()
        breakable_stack.postgres.kill()
        relay.logged("relay.paused")
        start(breakable_stack.postgres)
        relay.logged("relay.active")
        load.database.dispose()
        load.write(rows=10)
        load.wait_until_sent()
        assert relay.stop() == 0
    load.check_published()


def test_a_relay_that_is_stopped_makes_room_for_the_next_at_once(load: outbox_load.Load) -> None:
    load.write()
    for_long = load.settings.model_copy(update={"relay_lease_s": 60.0})  # the first one has it until it lets go of it
    with parts.running("relay", for_long) as relay, parts.running("relay", for_long) as standby:
        both = {part.process.pid: part for part in (relay, standby)}
        # One of an earlier test that was killed may still be there.
        waiting.wait_until(lambda: load.owner_pid() in both, deadline_s=30)
        active = both.pop(load.owner_pid() or 0)
        (waits,) = both.values()
        waits.logged("relay.standby")
        assert active.stop() == 0
        waits.logged("relay.active")
        assert waits.stop() == 0


def test_setting_up_again_changes_nothing_for_a_relay_at_work(load: outbox_load.Load) -> None:
    with a_running_relay(load.settings):
        load.write()
        load.wait_until_sent()
        bootstrap.create_relay_shards(load.settings, load.database)
        load.write()
        load.wait_until_sent()
    load.check_published()


def test_a_relay_without_its_checkpoint_stops_and_says_what_to_do(
    load: outbox_load.Load, endpoints: devstack.Endpoints
) -> None:
    elsewhere = load.settings.model_copy(update={"topic_prefix": kafka_logs.a_name()})
    create_topic(endpoints, bootstrap.topic_names(elsewhere).relay_checkpoint)
    with parts.running("relay", elsewhere) as relay:
        assert relay.wait() == 1
    assert "its checkpoint is gone from Kafka" in relay.said[-1]
    assert "then `allocation init`" in relay.said[-1]


def test_a_database_that_was_never_set_up_is_said_in_one_sentence(settings: config.Settings) -> None:
    with parts.running("relay", settings) as relay:
        assert relay.wait() in (1, 2)
    assert "run `allocation init`" in "".join(relay.said)
    assert "Traceback" not in "".join(relay.said)


def test_a_shard_is_set_up_anew_when_a_person_says_so(load: outbox_load.Load) -> None:
    load.write()
    relay_all(load)
    with load.database.begin() as connection:
        connection.execute(tables.relay_shards.update().values(checkpointed=False))
    with pytest.raises(ports.RelayStopped, match="run `allocation init`"):
        bootstrap.relay(load.settings, shard=0).run(threading.Event())
    bootstrap.create_relay_shards(load.settings, load.database)
    load.write()
    relay_all(load)
    load.check_published()


def start(service: devstack.Service) -> None:
    service.start()
    service.wait_ready()


def is_quarantined(load: outbox_load.Load, row_id: int) -> bool:
    query = sqlalchemy.select(tables.outbox.c.quarantined).where(tables.outbox.c.id == row_id)
    with load.database.connect() as connection:
        return connection.scalar(query) is not None


def create_topic(endpoints: devstack.Endpoints, name: str) -> None:
    client = kafka_logs.raw_admin(endpoints)
    client.create_topics([admin.NewTopic(name, num_partitions=1, replication_factor=1)])[name].result()


def allow_large_messages(endpoints: devstack.Endpoints, topic: str) -> None:
    resource = admin.ConfigResource(
        admin.ConfigResource.Type.TOPIC,
        topic,
        incremental_configs=[
            admin.ConfigEntry(
                "max.message.bytes",
                str(2 * TOO_LARGE_BYTES),
                incremental_operation=admin.AlterConfigOpType.SET,
            )
        ],
    )
    client = kafka_logs.raw_admin(endpoints)
    client.incremental_alter_configs([resource])[resource].result()
    with kafka_logs.a_transactional_producer(endpoints) as producer:  # what it writes nobody sees
        waiting.wait_until(lambda: takes(producer, topic, TOO_LARGE_BYTES), deadline_s=30)


def takes(producer: confluent_kafka.Producer, topic: str, size_bytes: int) -> bool:
    """Say whether the broker knows by now that it is to take so much."""
    errors: list[confluent_kafka.KafkaError | None] = []
    producer.begin_transaction()
    producer.produce(topic, b" " * size_bytes, on_delivery=lambda error, _message: errors.append(error))
    producer.flush()
    producer.abort_transaction()
    return errors == [None]
