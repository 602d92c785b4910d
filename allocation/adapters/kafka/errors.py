"""Kafka's errors in two kinds: what time cures (pause, try again) and what it does not (stop, tell)."""

from __future__ import annotations

import confluent_kafka

from allocation.service_layer import ports

# The client's own codes, for which it does not say itself that they pass.
_TRANSIENT = frozenset(
    {
        confluent_kafka.KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - the underscore marks local errors, not private names
        confluent_kafka.KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
        confluent_kafka.KafkaError._PURGE_INFLIGHT,  # noqa: SLF001
        confluent_kafka.KafkaError._PURGE_QUEUE,  # noqa: SLF001
        confluent_kafka.KafkaError._RESOLVE,  # noqa: SLF001
        confluent_kafka.KafkaError._TIMED_OUT,  # noqa: SLF001
        confluent_kafka.KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
        confluent_kafka.KafkaError._TRANSPORT,  # noqa: SLF001
        confluent_kafka.KafkaError._WAIT_COORD,  # noqa: SLF001
    }
)

_NO_TOPIC = frozenset(
    {
        confluent_kafka.KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        confluent_kafka.KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)


class KafkaRefused(Exception):
    """Kafka refuses something for a reason that waiting does not cure."""


def kafka_error(error: confluent_kafka.KafkaException) -> confluent_kafka.KafkaError:
    """Return the error that an exception of the client carries."""
    found: confluent_kafka.KafkaError = error.args[0]
    return found


def is_transient(error: confluent_kafka.KafkaError) -> bool:
    """Say whether the same request may succeed later without anyone doing anything."""
    return error.code() in _TRANSIENT or (error.retriable() and not is_missing_topic(error))


def is_missing_topic(error: confluent_kafka.KafkaError) -> bool:
    """Say whether the topic or the partition does not exist."""
    return error.code() in _NO_TOPIC


def failure(action: str, error: confluent_kafka.KafkaError, *, servers: str) -> ports.DependencyDown | KafkaRefused:
    """Return the exception to raise for an action that failed: `DependencyDown` or `KafkaRefused`."""
    if is_missing_topic(error):
        return KafkaRefused(f"cannot {action}: it does not exist at {servers}; `allocation init` creates the topics")
    if is_transient(error):
        return ports.DependencyDown(f"cannot {action}: Kafka at {servers} does not answer ({error.str()})")
    return KafkaRefused(f"cannot {action}: Kafka at {servers} refuses it: {error.str()} ({error.name()})")
