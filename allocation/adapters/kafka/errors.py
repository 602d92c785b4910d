"""Kafka's errors in two kinds: what time cures (pause, try again) and what it does not (stop, tell)."""

# ruff: noqa: SLF001 - the underscore marks the client's own error codes, not private names

from __future__ import annotations

import confluent_kafka

from allocation.service_layer import ports

# The client's own codes for a broker that cannot be reached or does not answer in time.
_UNREACHABLE = frozenset(
    {
        confluent_kafka.KafkaError._ALL_BROKERS_DOWN,
        confluent_kafka.KafkaError._MSG_TIMED_OUT,
        confluent_kafka.KafkaError._PURGE_INFLIGHT,
        confluent_kafka.KafkaError._PURGE_QUEUE,
        confluent_kafka.KafkaError._RESOLVE,
        confluent_kafka.KafkaError._TIMED_OUT,
        confluent_kafka.KafkaError._TIMED_OUT_QUEUE,
        confluent_kafka.KafkaError._TRANSPORT,
        confluent_kafka.KafkaError._WAIT_COORD,
    }
)

# What a broker answers while leaders move, replicas catch up or it starts (Java's `RetriableException`).
_NOT_READY = frozenset(
    {
        confluent_kafka.KafkaError.BROKER_NOT_AVAILABLE,
        confluent_kafka.KafkaError.CONCURRENT_TRANSACTIONS,
        confluent_kafka.KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        confluent_kafka.KafkaError.COORDINATOR_NOT_AVAILABLE,
        confluent_kafka.KafkaError.ELIGIBLE_LEADERS_NOT_AVAILABLE,
        confluent_kafka.KafkaError.FENCED_LEADER_EPOCH,
        confluent_kafka.KafkaError.KAFKA_STORAGE_ERROR,
        confluent_kafka.KafkaError.LEADER_NOT_AVAILABLE,
        confluent_kafka.KafkaError.LISTENER_NOT_FOUND,
        confluent_kafka.KafkaError.NETWORK_EXCEPTION,
        confluent_kafka.KafkaError.NOT_CONTROLLER,
        confluent_kafka.KafkaError.NOT_COORDINATOR,
        confluent_kafka.KafkaError.NOT_ENOUGH_REPLICAS,
        confluent_kafka.KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        confluent_kafka.KafkaError.NOT_LEADER_FOR_PARTITION,
        confluent_kafka.KafkaError.OFFSET_NOT_AVAILABLE,
        confluent_kafka.KafkaError.REPLICA_NOT_AVAILABLE,
        confluent_kafka.KafkaError.REQUEST_TIMED_OUT,
        confluent_kafka.KafkaError.THROTTLING_QUOTA_EXCEEDED,
        confluent_kafka.KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)

_NO_TOPIC = frozenset(
    {
        confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART,
        confluent_kafka.KafkaError._NOENT,  # "no leaders found"
        confluent_kafka.KafkaError._UNKNOWN_PARTITION,
        confluent_kafka.KafkaError._UNKNOWN_TOPIC,
    }
)

_ANOTHER_EPOCH = frozenset(
    {confluent_kafka.KafkaError.FENCED_LEADER_EPOCH, confluent_kafka.KafkaError.UNKNOWN_LEADER_EPOCH}
)


class KafkaRefused(Exception):
    """Kafka refuses something for a reason that waiting does not cure."""


class NotReady(ports.DependencyDown):
    """Kafka answers, but cannot do it yet; a moment later it mostly can."""


class Behind(NotReady):
    """A broker and the metadata differ about who leads a partition since when: a matter of moments (KIP-320)."""


def kafka_error(exception: confluent_kafka.KafkaException) -> confluent_kafka.KafkaError:
    """Return the error that an exception of the client carries."""
    error: confluent_kafka.KafkaError = exception.args[0]
    return error


def is_missing_topic(error: confluent_kafka.KafkaError) -> bool:
    """Say whether the topic or the partition does not exist."""
    return error.code() in _NO_TOPIC


def failure(action: str, error: confluent_kafka.KafkaError, *, servers: str) -> ports.DependencyDown | KafkaRefused:
    """Return the exception to raise for an action that failed: `DependencyDown` or `KafkaRefused`."""
    if is_missing_topic(error):
        return KafkaRefused(f"cannot {action}: it does not exist at {servers}; `allocation init` creates the topics")
    if error.code() in _UNREACHABLE:
        return ports.DependencyDown(
            f"cannot {action}: Kafka at {servers} does not answer ({error.str()}); "
            "check that it runs there, or correct ALLOCATION_KAFKA_BOOTSTRAP_SERVERS"
        )
    if error.code() in _NOT_READY:
        kind = Behind if error.code() in _ANOTHER_EPOCH else NotReady
        return kind(f"cannot {action}: Kafka at {servers} is not ready for it ({error.str()})")
    return KafkaRefused(f"cannot {action}: Kafka at {servers} refuses it: {error.str()} ({error.name()})")
