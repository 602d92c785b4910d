"""Topics on a real cluster."""

from __future__ import annotations

from concurrent import futures
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import admin

from allocation.adapters.kafka import clients, errors, topic_specs, topics
from allocation.service_layer import ports
from allocation.service_layer import topics as topic_names
from tests import kafka_logs, waiting

if TYPE_CHECKING:
    from allocation import devstack

FOR_EVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


@pytest.fixture
def topic_admin(endpoints: devstack.Endpoints) -> topics.TopicAdmin:
    return topics.TopicAdmin(kafka_logs.a_config(endpoints))


@pytest.fixture
def names() -> topic_names.TopicNames:
    return topic_names.TopicNames(f"{kafka_logs.a_name()}.")


@pytest.fixture
def raw_admin(endpoints: devstack.Endpoints) -> admin.AdminClient:
    return kafka_logs.raw_admin(endpoints)


def config_of(raw_admin: admin.AdminClient, topic: str) -> dict[str, str]:
    resource = admin.ConfigResource(admin.ResourceType.TOPIC, topic)
    entries = raw_admin.describe_configs([resource])[resource].result(10)
    return {name: str(entry.value) for name, entry in entries.items()}


def test_every_topic_is_made_with_its_settings(
    raw_admin: admin.AdminClient, topic_admin: topics.TopicAdmin, names: topic_names.TopicNames
) -> None:
    created = topic_admin.create(topic_specs.topic_specs(names, partitions=3, shards=2))

    partitions = {name: found.partitions for name, found in topic_admin.describe(created).items()}
    keyed = [*names.commands.values(), *names.events.values(), names.dead_letter]
    assert partitions == {**dict.fromkeys(keyed, 3), names.journal: 1, names.relay_checkpoint: 2}
    for name in (*keyed, names.journal):
        assert FOR_EVER.items() <= config_of(raw_admin, name).items()
    assert config_of(raw_admin, names.relay_checkpoint)["cleanup.policy"] == "compact"


def test_a_dead_letter_may_be_64_kib_larger_than_a_command(
    raw_admin: admin.AdminClient, topic_admin: topics.TopicAdmin, names: topic_names.TopicNames
) -> None:
    topic_admin.create(topic_specs.topic_specs(names, partitions=1))
    command, dead_letter = (
        int(config_of(raw_admin, name)["max.message.bytes"]) for name in (names.allocate, names.dead_letter)
    )
    assert dead_letter == command + 65_536


def test_creating_again_makes_nothing_and_changes_nothing(
    raw_admin: admin.AdminClient, topic_admin: topics.TopicAdmin, names: topic_names.TopicNames
) -> None:
    specs = topic_specs.topic_specs(names, partitions=2)
    first = topic_admin.describe(topic_admin.create(specs))
    shorter = admin.ConfigEntry("retention.ms", "1000", incremental_operation=admin.AlterConfigOpType.SET)
    resource = admin.ConfigResource(admin.ResourceType.TOPIC, names.allocate, incremental_configs=[shorter])
    raw_admin.incremental_alter_configs([resource])[resource].result(10)

    assert topic_admin.create(specs) == ()
    assert topic_admin.describe(first) == first
    waiting.wait_until(lambda: config_of(raw_admin, names.allocate)["retention.ms"] == "1000")


def test_only_missing_topics_are_made(endpoints: devstack.Endpoints, topic_admin: topics.TopicAdmin) -> None:
    there = kafka_logs.a_topic(endpoints)
    missing = kafka_logs.a_name()
    specs = [topic_specs.TopicSpec(name, 1, 1, {}) for name in (there, missing)]
    assert topic_admin.create(specs) == (missing,)


def test_another_number_of_partitions_is_an_error_and_nothing_is_made(
    endpoints: devstack.Endpoints, topic_admin: topics.TopicAdmin
) -> None:
    there, missing = kafka_logs.a_topic(endpoints, partitions=2), kafka_logs.a_name()
    with pytest.raises(topics.TopicMismatch, match=f"topic {there} has 2 partitions, and 6 are asked for"):
        topic_admin.create([topic_specs.TopicSpec(name, 6, 1, {}) for name in (missing, there)])
    assert topic_admin.describe([missing]) == {}


def test_two_that_create_the_same_topics_at_once_both_succeed(
    endpoints: devstack.Endpoints, names: topic_names.TopicNames
) -> None:
    specs = topic_specs.topic_specs(names, partitions=1)

    def create(_number: int) -> tuple[str, ...]:
        return topics.TopicAdmin(kafka_logs.a_config(endpoints)).create(specs)

    with futures.ThreadPoolExecutor() as pool:
        list(pool.map(create, range(4)))
    assert len(topics.TopicAdmin(kafka_logs.a_config(endpoints)).describe([spec.name for spec in specs])) == len(specs)


def test_what_the_cluster_refuses_is_told_with_its_reason(topic_admin: topics.TopicAdmin) -> None:
    name = kafka_logs.a_name()
    with pytest.raises(errors.KafkaRefused, match=rf"cannot create topic {name}.*INVALID_REPLICATION_FACTOR"):
        topic_admin.create([topic_specs.TopicSpec(name, 1, 9, {})])


def test_a_topic_that_was_made_anew_has_another_id(
    endpoints: devstack.Endpoints, raw_admin: admin.AdminClient, topic_admin: topics.TopicAdmin
) -> None:
    name = kafka_logs.a_topic(endpoints)
    before = topic_admin.describe([name])[name]
    raw_admin.delete_topics([name])[name].result(10)
    waiting.wait_until(lambda: topic_admin.describe([name]) == {})
    topic_admin.create([topic_specs.TopicSpec(name, 1, 1, {})])
    after = topic_admin.describe([name])[name]
    assert before.partitions == after.partitions
    assert before.topic_id != after.topic_id


def test_a_topic_that_does_not_exist_is_not_described(topic_admin: topics.TopicAdmin) -> None:
    assert topic_admin.describe([kafka_logs.a_name()]) == {}
    assert topic_admin.describe([]) == {}


def test_the_end_stays_before_an_open_transaction(
    endpoints: devstack.Endpoints, topic_admin: topics.TopicAdmin
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    partition = topics.TopicPartition(topic, 0)
    assert topic_admin.watermarks([partition]) == {partition: topics.Watermarks(0, 0)}
    with kafka_logs.a_transactional_producer(endpoints) as producer:
        kafka_logs.write_transaction(producer, topic, b"a", b"b", commit=True)
        kafka_logs.write_transaction(producer, topic, b"c", commit=None)
        assert topic_admin.watermarks([partition]) == {partition: topics.Watermarks(0, 3)}
        assert topic_admin.high_watermarks([partition]) == {partition: 4}


def test_offsets_of_a_partition_that_does_not_exist_are_refused(
    endpoints: devstack.Endpoints, topic_admin: topics.TopicAdmin
) -> None:
    topic = kafka_logs.a_topic(endpoints)
    with pytest.raises(errors.KafkaRefused, match=rf"list offsets of {topic}\[5\].*allocation init"):
        topic_admin.watermarks([topics.TopicPartition(topic, 5)])
    assert topic_admin.watermarks([]) == {}


def test_the_cluster_id_is_that_of_the_cluster(raw_admin: admin.AdminClient, topic_admin: topics.TopicAdmin) -> None:
    assert topic_admin.cluster_id() == raw_admin.list_topics(timeout=10).cluster_id


def test_a_cluster_that_does_not_answer_is_a_dependency_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "REQUEST_TIMEOUT_S", 0.2)
    topic_admin = topics.TopicAdmin(clients.ClientConfig(kafka_logs.NOWHERE))
    with pytest.raises(ports.DependencyDown, match=r"cannot describe the cluster: Kafka at 127\.0\.0\.1:1"):
        topic_admin.cluster_id()
    with pytest.raises(ports.DependencyDown, match="cannot describe topic orders"):
        topic_admin.create([topic_specs.TopicSpec("orders", 1, 1, {})])


def test_a_setting_that_the_client_does_not_know_is_named() -> None:
    with pytest.raises(clients.BadSetting, match=r'ALLOCATION_KAFKA_CONFIG.*"security.protokoll"'):
        topics.TopicAdmin(clients.ClientConfig(kafka_logs.NOWHERE, {"security.protokoll": "ssl"}))
