"""Settings of Kafka clients: whose word counts, and what is told to whom."""

from __future__ import annotations

import confluent_kafka
import pytest
from structlog import testing

from allocation.adapters.kafka import clients, errors, topic_specs
from allocation.service_layer import ports
from allocation.service_layer import topics as topic_names


def a_config(**extra: object) -> clients.ClientConfig:
    return clients.ClientConfig("broker:9092", {name.replace("_", "."): value for name, value in extra.items()})


def test_all_clients_go_to_the_given_servers() -> None:
    config = a_config(bootstrap_servers="elsewhere:9092")
    for settings in (config.producer(), config.consumer(), config.admin()):
        assert settings["bootstrap.servers"] == "broker:9092"


def test_the_users_settings_go_before_our_defaults_and_the_callers_before_both() -> None:
    config = a_config(linger_ms=50, client_id="mine")
    assert config.producer()["linger.ms"] == 50
    assert config.producer(**{"linger.ms": 0})["linger.ms"] == 0
    assert config.consumer()["client.id"] == "mine"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("isolation.level", "read_uncommitted", "'read_committed'"),
        ("enable.idempotence", False, "True"),
        ("partitioner", "consistent_random", "'murmur2_random'"),
        ("acks", "1", "'all'"),
        ("enable.auto.commit", "true", "False"),
        ("auto.offset.reset", "latest", "'error'"),
    ],
)
def test_a_setting_that_breaks_a_guarantee_is_refused_by_name(name: str, value: object, expected: str) -> None:
    with pytest.raises(clients.BadSetting, match=f"{name} is {value!r}; it must stay {expected}"):
        clients.ClientConfig("broker:9092", {name: value})


@pytest.mark.parametrize(("name", "value"), [("enable.idempotence", "true"), ("acks", "ALL")])
def test_a_guarantee_may_be_said_again_in_other_words(name: str, value: object) -> None:
    assert clients.ClientConfig("broker:9092", {name: value}).producer()


def test_a_producer_waits_for_all_replicas_and_partitions_as_java_does() -> None:
    guaranteed = {"enable.idempotence": True, "acks": "all", "partitioner": "murmur2_random"}
    assert guaranteed.items() <= a_config().producer().items()


def test_an_error_of_the_client_is_logged_once_in_a_while() -> None:
    report = a_config().producer()["error_cb"]
    error = confluent_kafka.KafkaError(confluent_kafka.KafkaError._TRANSPORT)  # noqa: SLF001 - marks a local code
    assert callable(report)
    with testing.capture_logs() as lines:
        for _ in range(3):
            report(error)
    assert [(line["event"], line["code"], line["servers"]) for line in lines] == [
        ("kafka.error", "_TRANSPORT", "broker:9092")
    ]


def test_the_clients_own_lines_become_events_of_the_log() -> None:
    logger = a_config().consumer()["logger"]
    with testing.capture_logs() as lines:
        logger.log(30, "%s [%s] %s", "GETPID", "allocation#1", "retrying")  # type: ignore[attr-defined]
        logger.log(30, "%s [%s] %s", "FAIL", "allocation#1", "connection refused")  # type: ignore[attr-defined]
        logger.log(30, "%s [%s] %s", "CONFWARN", "allocation#1", "is a producer property")  # type: ignore[attr-defined]
    assert [(line["event"], line["log_level"], line["facility"]) for line in lines] == [
        ("kafka.client", "warning", "GETPID"),
        ("kafka.client", "debug", "CONFWARN"),
    ]


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (confluent_kafka.KafkaError._TRANSPORT, ports.DependencyDown, "does not answer"),  # noqa: SLF001
        (confluent_kafka.KafkaError._MSG_TIMED_OUT, ports.DependencyDown, "does not answer"),  # noqa: SLF001
        (confluent_kafka.KafkaError.NOT_LEADER_FOR_PARTITION, errors.NotReady, "not ready"),
        (confluent_kafka.KafkaError.NOT_ENOUGH_REPLICAS, errors.NotReady, "not ready"),
        (confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART, errors.KafkaRefused, "allocation init"),
        (confluent_kafka.KafkaError._UNKNOWN_TOPIC, errors.KafkaRefused, "allocation init"),  # noqa: SLF001
        (confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED, errors.KafkaRefused, "TOPIC_AUTHORIZATION_FAILED"),
        (confluent_kafka.KafkaError._FATAL, errors.KafkaRefused, "_FATAL"),  # noqa: SLF001
    ],
)
def test_errors_that_pass_are_told_from_those_that_stay(code: int, kind: type[Exception], told: str) -> None:
    failure = errors.failure("send to orders", confluent_kafka.KafkaError(code), servers="broker:9092")
    assert type(failure) is kind
    assert str(failure).startswith("cannot send to orders: ")
    assert told in str(failure)
    assert "broker:9092" in str(failure)


@pytest.mark.parametrize(("replicas", "quorum"), [(1, None), (2, None), (3, "2"), (5, "2")])
def test_with_three_replicas_two_must_have_a_write(replicas: int, quorum: str | None) -> None:
    specs = topic_specs.topic_specs(topic_names.TopicNames("p."), partitions=6, replicas=replicas)
    assert {spec.config.get("min.insync.replicas") for spec in specs} == {quorum}
    assert {spec.replicas for spec in specs} == {replicas}
    assert all(spec.name.startswith("p.") for spec in specs)
