"""Make and describe topics; an existing topic is never changed in silence.

One with another number of partitions than asked for is an error: adding partitions moves keys, which
is for an operator to do.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import confluent_kafka
import stamina
from confluent_kafka import admin

from allocation.adapters.kafka import clients, errors
from allocation.service_layer import messages, ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from concurrent import futures

    from allocation.adapters.kafka import topic_specs

TopicPartition = messages.TopicPartition

_Key = TypeVar("_Key")
_COMMITTED = confluent_kafka.IsolationLevel.READ_COMMITTED
_UNCOMMITTED = confluent_kafka.IsolationLevel.READ_UNCOMMITTED

# A healthy cluster answers in milliseconds, a loaded one in a second or two.
REQUEST_TIMEOUT_S = 10.0
# A controller's news reaches the brokers within some 10 ms, as do the markers of a transaction; nobody tells of either.
_PROPAGATION_POLL_S = 0.02
# A broker that stood still for some seconds hears of its leaders anew: of each partition, one after the other. Short
# against what a stop or `/readyz` may take.
_ONCE_CAUGHT_UP = stamina.retry(
    on=errors.Behind, attempts=None, timeout=2.0, wait_initial=_PROPAGATION_POLL_S, wait_max=0.2
)


class TopicMismatch(Exception):
    """A topic exists with another number of partitions than it should have."""


class TopicDescription(NamedTuple):
    """A topic as it is; another one of the same name has another id."""

    topic_id: str
    partitions: int


class Watermarks(NamedTuple):
    """The first offset that is there, and the next one that a `read_committed` reader will see."""

    begin: int
    end: int


class Stamped(NamedTuple):
    """Where a record lies, and when it was sent."""

    offset: int
    timestamp_ms: int


class TopicAdmin:
    """Creates and describes topics; threads may share it.

    Each method blocks for `REQUEST_TIMEOUT_S` at most, may be repeated, and raises `DependencyDown`
    where the cluster does not answer and `KafkaRefused` where it does not allow the request.
    """

    def __init__(self, config: clients.ClientConfig) -> None:
        self._servers = config.bootstrap_servers
        self._admin = clients.opened(admin.AdminClient, config.admin())  # type: ignore[arg-type] # it takes callbacks

    def cluster_id(self) -> str:
        """Return the id that the cluster was formatted with."""
        with self._translated("describe the cluster"):
            return str(self._admin.describe_cluster(request_timeout=REQUEST_TIMEOUT_S).result().cluster_id)

    def create(self, specs: Iterable[topic_specs.TopicSpec]) -> tuple[str, ...]:
        """Create the topics that are missing and return their names.

        Raises `TopicMismatch` for one that exists with another number of partitions.
        """
        wanted = {spec.name: spec for spec in specs}
        found = self.describe(wanted)
        for name, description in found.items():
            _check(wanted[name], description)
        missing = [_new_topic(spec) for name, spec in wanted.items() if name not in found]
        if missing:
            asked = self._admin.create_topics(missing, request_timeout=REQUEST_TIMEOUT_S)
            # Another process may have been quicker, which is as good.
            self._collect("create topic {}", asked, ignoring=confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS)
            self._wait_for([topic.topic for topic in missing])
        return tuple(topic.topic for topic in missing)

    def describe(self, names: Iterable[str]) -> dict[str, TopicDescription]:
        """Return id and number of partitions of those of the topics that exist."""
        asked = self._admin.describe_topics(
            confluent_kafka.TopicCollection(list(names)), request_timeout=REQUEST_TIMEOUT_S
        )
        found = self._collect("describe topic {}", asked, ignoring=confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART)
        return {
            name: TopicDescription(_as_java_writes_it(topic.topic_id), len(topic.partitions))
            for name, topic in found.items()
        }

    def partitions(self, names: Iterable[str]) -> tuple[TopicPartition, ...]:
        """Return all partitions of those of the topics that exist."""
        return tuple(
            TopicPartition(name, number)
            for name, description in self.describe(names).items()
            for number in range(description.partitions)
        )

    def settings(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the settings of topics, which must exist, as they are in force."""
        resources = [admin.ConfigResource("topic", name) for name in names]
        asked = self._admin.describe_configs(resources, request_timeout=REQUEST_TIMEOUT_S)
        found = self._collect("describe the settings of {}", asked)
        return {
            resource.name: {name: str(entry.value) for name, entry in entries.items()}
            for resource, entries in found.items()
        }

    def watermarks(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Watermarks]:
        """Return begin and end of partitions; an open transaction lies behind the end."""
        begins = self._offsets(partitions, admin.OffsetSpec.earliest(), _COMMITTED)
        ends = self._offsets(partitions, admin.OffsetSpec.latest(), _COMMITTED)
        return {partition: Watermarks(begins[partition], ends[partition]) for partition in partitions}

    def high_watermarks(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where partitions really end: behind `Watermarks.end` while a transaction is open."""
        return self._offsets(partitions, admin.OffsetSpec.latest(), _UNCOMMITTED)

    def settled_watermarks(
        self, written: Mapping[TopicPartition, int], *, timeout_s: float
    ) -> dict[TopicPartition, Watermarks]:
        """Return begin and end once all that lies before these offsets can be seen, or is not there any more.

        A transaction is committed before its records can be seen: the markers that let them be seen follow a moment
        later (KIP-98). For one that does not end nobody waits longer than that.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            marks = self.watermarks(list(written))
            if all(mark.end >= written[at] for at, mark in marks.items()) or time.monotonic() > deadline:
                return marks
            time.sleep(_PROPAGATION_POLL_S)

    def first_since(self, partitions: Sequence[TopicPartition], timestamp_ms: int) -> dict[TopicPartition, Stamped]:
        """Return of each partition the first record that is not older; one without any is not in the answer."""
        return self._stamped(partitions, admin.OffsetSpec.for_timestamp(timestamp_ms))

    def newest(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Stamped]:
        """Return of each partition the record with the latest time; an empty one is not in the answer."""
        return self._stamped(partitions, admin.OffsetSpec.max_timestamp())

    def _stamped(self, partitions: Sequence[TopicPartition], spec: admin.OffsetSpec) -> dict[TopicPartition, Stamped]:
        found = self._listed(partitions, spec, _COMMITTED)
        return {partition: Stamped(one.offset, one.timestamp) for partition, one in found.items() if one.offset >= 0}

    def _wait_for(self, names: Sequence[str]) -> None:
        """Wait until the brokers lead all partitions of topics that the controller has made."""
        deadline = time.monotonic() + REQUEST_TIMEOUT_S
        while not self._are_led(names):
            if time.monotonic() > deadline:
                msg = f"{', '.join(names)} were created, but Kafka at {self._servers} is not ready with them; try again"
                raise ports.DependencyDown(msg)
            time.sleep(_PROPAGATION_POLL_S)

    def _are_led(self, names: Sequence[str]) -> bool:
        partitions = self.partitions(names)
        if {partition.topic for partition in partitions} != set(names):
            return False
        try:
            self.high_watermarks(partitions)
        except ports.DependencyDown:
            return False
        return True

    def _offsets(
        self,
        partitions: Sequence[TopicPartition],
        spec: admin.OffsetSpec,
        isolation: confluent_kafka.IsolationLevel,
    ) -> dict[TopicPartition, int]:
        return {partition: one.offset for partition, one in self._listed(partitions, spec, isolation).items()}

    @_ONCE_CAUGHT_UP
    def _listed(
        self,
        partitions: Sequence[TopicPartition],
        spec: admin.OffsetSpec,
        isolation: confluent_kafka.IsolationLevel,
    ) -> dict[TopicPartition, admin.ListOffsetsResultInfo]:
        if not partitions:
            return {}
        asked = self._admin.list_offsets(
            {confluent_kafka.TopicPartition(*partition): spec for partition in partitions},
            isolation_level=isolation,
            request_timeout=REQUEST_TIMEOUT_S,
        )
        found = self._collect("list offsets of {}", asked)
        return {TopicPartition(key.topic, key.partition): result for key, result in found.items()}

    def _collect(
        self, action: str, asked: Mapping[_Key, futures.Future[Any]], *, ignoring: int | None = None
    ) -> dict[_Key, Any]:
        """Wait for the answers; leave out those that failed with the error code to ignore."""
        found = {}
        for key, future in asked.items():
            with self._translated(action.format(_called(key)), ignoring=ignoring):
                found[key] = future.result()
        return found

    @contextlib.contextmanager
    def _translated(self, action: str, *, ignoring: int | None = None) -> Iterator[None]:
        try:
            yield
        except confluent_kafka.KafkaException as exception:
            error = errors.kafka_error(exception)
            if error.code() != ignoring:
                raise errors.failure(action, error, servers=self._servers) from exception


def _as_java_writes_it(topic_id: confluent_kafka.Uuid) -> str:
    """Return the id in URL-safe base64, as Kafka's own tools show it."""
    return str(topic_id).replace("+", "-").replace("/", "_")


def _called(key: object) -> object:
    return f"{key.topic}[{key.partition}]" if isinstance(key, confluent_kafka.TopicPartition) else key


def _check(spec: topic_specs.TopicSpec, found: TopicDescription) -> None:
    if found.partitions != spec.partitions:
        msg = (
            f"topic {spec.name} has {found.partitions} partitions, and {spec.partitions} are asked for; set "
            f"ALLOCATION_PARTITIONS={found.partitions}, or change the topic first"
        )
        raise TopicMismatch(msg)


def _new_topic(spec: topic_specs.TopicSpec) -> admin.NewTopic:
    return admin.NewTopic(
        spec.name, num_partitions=spec.partitions, replication_factor=spec.replicas, config=dict(spec.config)
    )
