"""How every Kafka client is set up: one place for librdkafka's settings, each with its reason.

What the user sets goes before our defaults, but not before what the guarantees rest on. A client's
own lines go to the log as events, never raw to standard error.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import confluent_kafka
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_Client = TypeVar("_Client")

log = structlog.get_logger()

Settings = dict[str, object]

# Kafka's own default for a topic (1 MiB and the overhead of a batch). A dead letter is the original
# with some headers more, so it may be this much larger; clients must be able to send that.
MAX_COMMAND_BYTES = 1_048_588
MAX_DEAD_LETTER_BYTES = MAX_COMMAND_BYTES + 64 * 1024

_DEFAULTS: Settings = {
    "client.id": "allocation",
    # A broker that restarts is back in seconds: ask again at least once a second (default: 10 s).
    "reconnect.backoff.max.ms": 1000,
    # A broker that vanished without a word is noticed in 10 s (default: 60 s).
    "socket.timeout.ms": 10_000,
    # Likewise while connecting (default: 30 s).
    "socket.connection.setup.timeout.ms": 5000,
    # A firewall in between that drops idle connections is noticed by the operating system.
    "socket.keepalive.enable": True,
    # Partitions that were added and leaders that moved are seen within 30 s (default: 5 min).
    "topic.metadata.refresh.interval.ms": 30_000,
    # How long a topic may stay unknown after its creation; brokers agree within a second (default: 30 s).
    "topic.metadata.propagation.max.ms": 5000,
    # Brokers close idle connections, which is no news.
    "log.connection.close": False,
    # What librdkafka would report about itself to the brokers; we have metrics of our own.
    "enable.metrics.push": False,
}

_CONSUMER_DEFAULTS: Settings = {
    # librdkafka asks for a group even where none is used.
    "group.id": "allocation",
    # As Java's client does: what the disk or the network garbled is an error, not a message.
    "check.crcs": True,
    # How soon a full client queue is looked at again (default: 1 s, a pause in the middle of a backlog).
    "fetch.queue.backoff.ms": 10,
}

# Of a member of a group.
_MEMBER_SETTINGS: Settings = {
    "enable.partition.eof": True,
    # A fetch that began before partitions were added holds them up for this long (default: 500 ms).
    "fetch.wait.max.ms": 50,
    # What the client reads ahead of each partition in a backlog: a quarter of a micro-batch; and of large records, of
    # all together. Its defaults, 100,000 and 64 MiB without the headers, took 80 MB of memory.
    "queued.min.messages": 1000,
    "queued.max.messages.kbytes": 8 * 1024,
}

_PRODUCER_DEFAULTS: Settings = {
    # Latency counts; in a backlog batches fill up by themselves.
    "linger.ms": 0,
    # Checked by the client before it compresses; the topic's own limit decides.
    "message.max.bytes": MAX_DEAD_LETTER_BYTES,
    # What waits in the client: memory stays bounded (default: 1 GiB).
    "queue.buffering.max.kbytes": 64 * 1024,
}

_CONSUMER_GUARANTEES: Settings = {
    # Positions are ours; the group's offset is committed by hand, afterwards.
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    # An offset out of range is a finding to report, never a reason to jump.
    "auto.offset.reset": "error",
    # Records of an aborted transaction never happened.
    "isolation.level": "read_committed",
}

_PRODUCER_GUARANTEES: Settings = {
    # Once and in order into each partition, also when the client has to send again.
    "enable.idempotence": True,
    "acks": "all",
    # Java's default, and part of the contract: other clients find the same partition for a key.
    "partitioner": "murmur2_random",
}

# Reported by the error callback as well, there with a limit.
_FACILITIES_OF_ERRORS = frozenset({"FAIL", "ERROR"})


class BadSetting(ValueError):
    """A Kafka setting of the user's that the client does not take or that would break a guarantee."""


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """Makes settings for clients of one cluster; `extra` are the user's own (SASL, TLS, …).

    Raises `BadSetting` where one of those contradicts what the guarantees rest on.
    """

    bootstrap_servers: str
    extra: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse settings that would break a guarantee."""
        for name, fixed in {**_CONSUMER_GUARANTEES, **_PRODUCER_GUARANTEES}.items():
            found = self.extra.get(name, fixed)
            if str(found).lower() != str(fixed).lower():
                msg = f"the Kafka setting {name} is {found!r}; it must stay {fixed!r}, the guarantees rest on it"
                raise BadSetting(msg)

    def producer(self, **required: object) -> Settings:
        """Return settings for a producer: idempotent, `acks=all`, partitions as Java's client."""
        return self._merged(_PRODUCER_DEFAULTS, _PRODUCER_GUARANTEES, required)

    def consumer(self, **required: object) -> Settings:
        """Return settings for a consumer: `read_committed`, no automatic commit, no automatic reset."""
        return self._merged(_CONSUMER_DEFAULTS, _CONSUMER_GUARANTEES, required)

    def member(self, *, group: str, instance_id: str | None, protocol: str, session_timeout_ms: int) -> Settings:
        """Return settings for a member of a group; equal partition numbers of all topics belong to one (`range`)."""
        name = {} if instance_id is None else {"group.instance.id": instance_id}
        if protocol == "consumer":  # session and assignor are the broker's to decide
            membership: Settings = {"group.protocol": "consumer", "group.remote.assignor": "range"}
        else:
            membership = {
                "partition.assignment.strategy": "range",
                "session.timeout.ms": session_timeout_ms,
                "heartbeat.interval.ms": max(session_timeout_ms // 4, 1),
            }
        return self.consumer(**{"group.id": group}, **_MEMBER_SETTINGS, **name, **membership)

    def admin(self, **required: object) -> Settings:
        """Return settings for an admin client."""
        return self._merged({}, {}, required)

    def _merged(self, defaults: Settings, guarantees: Settings, required: Settings) -> Settings:
        return {
            **_DEFAULTS,
            **defaults,
            **self.extra,
            **guarantees,
            "bootstrap.servers": self.bootstrap_servers,
            "logger": _ClientLog(),
            "error_cb": _ErrorLog(self.bootstrap_servers),
            **required,
        }


def opened(make: Callable[[Settings], _Client], settings: Settings) -> _Client:
    """Make a client; raises `BadSetting` where it does not take the settings."""
    try:
        return make(settings)
    except confluent_kafka.KafkaException as exception:
        msg = f"the Kafka client does not take its settings (ALLOCATION_KAFKA_CONFIG): {exception.args[0].str()}"
        raise BadSetting(msg) from exception


class _ClientLog:
    """Takes librdkafka's log lines as a `logging.Logger` would; they arrive while the client is polled."""

    def log(self, level: int, _template: str, facility: str, client: str, detail: str) -> None:
        if facility == "CONFWARN":
            # The user's settings are given to all clients; that a consumer needs no compression is no news.
            log.debug("kafka.client", facility=facility, client=client, detail=detail)
        elif facility not in _FACILITIES_OF_ERRORS:
            log.log(level, "kafka.client", facility=facility, client=client, detail=detail)


class _ErrorLog:
    """Logs a client's general errors, from which it recovers by itself; the same one twice a minute at most."""

    _INTERVAL_S = 30.0

    def __init__(self, bootstrap_servers: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._silent_until: dict[int, float] = {}

    def __call__(self, error: confluent_kafka.KafkaError) -> None:
        now = time.monotonic()
        if self._silent_until.get(error.code(), 0.0) > now:
            return
        self._silent_until[error.code()] = now + self._INTERVAL_S
        log.warning("kafka.error", code=error.name(), detail=error.str(), servers=self._bootstrap_servers)
