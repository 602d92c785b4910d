"""The worker's membership in its consumer group.

Every partition is placed (see `placement`) before anything of it is read; where it stands since then, and what is
taken of it, is the `assignment`'s. The group's offsets are committed afterwards, for the tools that show lag.

Sources: KIP-345, KIP-429, KIP-848; librdkafka's CONFIGURATION.md.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import confluent_kafka
import structlog

from allocation.adapters.kafka import assignment, placement, recognition
from allocation.service_layer import kill_points, messages, ports, signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from allocation.adapters.kafka import clients

log = structlog.get_logger()

_COMMITTED_TIMEOUT_S = 10.0
_COMMIT_INTERVAL_S = 0.5  # at most so often the group is told how far it is
_HELD_INTERVAL_S = 0.1  # how often it is asked whether partitions that wait may begin
_DECIDED_INTERVAL_S = 1.0  # how often it is asked whether an operator has decided on what was set aside
_UNDECIDED_REST_S = 30.0  # when that cannot be told: asking takes up to ten seconds then
_PLACEMENT_RETRY_S = 0.5  # while a new assignment waits for the database or Kafka
# Ordinary records come to a tenth of that; the largest, of 1 MB, must not fill the memory by the thousand.
_BATCH_BYTES = 16 * 1024 * 1024
_STEP_RECORDS = 100  # of the largest, as many as the client holds at a time

Key = assignment.Key


class GroupConsumer:
    """Reads the command topics as a member of the group; used by one thread.

    `give_up` tells, while an assignment waits for a dead dependency, that the process is to stop. `on_placed` hears
    of each log that is read from its stored position now.
    """

    def __init__(  # noqa: PLR0913 - what a member of a group needs
        self,
        config: clients.ClientConfig,
        *,
        names: Sequence[str],
        places: placement.Placement,
        group: str,
        instance_id: str | None,
        protocol: str,
        session_timeout_ms: int,
        give_up: Callable[[], bool],
        on_placed: Callable[[messages.LogPartition], None] = lambda _log: None,
    ) -> None:
        self._places = places
        self._give_up = give_up
        self._assignment = assignment.Assignment(pause=self._pause, on_placed=on_placed)
        self._recognition = recognition.Recognition(places, self._assignment)
        self._group_offsets: dict[Key, int] = {}
        self._uncommitted: dict[Key, int] = {}
        self._committed_until = 0.0
        self._held_until = 0.0
        self._undecided_until = 0.0
        self._incremental = protocol == "consumer"  # KIP-848 rebalances are always incremental
        self.rebalances = 0
        settings = config.member(
            group=group, instance_id=instance_id, protocol=protocol, session_timeout_ms=session_timeout_ms
        )
        self._consumer = confluent_kafka.Consumer(settings | {"on_commit": self._on_commit})
        self._names = list(names)
        self._subscribe()

    def poll(self, max_records: int, *, timeout_s: float) -> Sequence[messages.Record]:
        """Return what has arrived, waiting for a first record at most this long: one in quiet times, many in a backlog.

        Raises `DependencyDown` when a partition must be placed anew and that cannot be done now.
        """
        if self._uncommitted and time.monotonic() > self._committed_until:
            self._tell_group()
        if self._assignment.unplaced:
            self._place_again()
        if self._assignment.held and time.monotonic() > self._held_until:
            self._let_go()
        if self._assignment.aside and time.monotonic() > self._undecided_until:
            self._go_on_where_decided()
        first = self._consumer.poll(timeout_s)
        if first is None:
            self._recognition.look()
            return ()
        records = self._take([first])  # before the next call, which may take its partition away
        held_bytes = len(first)
        while len(records) < max_records and held_bytes < _BATCH_BYTES:
            fetched = self._consumer.consume(min(_STEP_RECORDS, max_records - len(records)), 0)
            if not fetched:
                break
            held_bytes += sum(map(len, fetched))
            records += self._take(fetched)
        return self._recognition.of_the_same_topics(records)

    def keep_alive(self, duration_s: float) -> None:
        """Stay in the group for a while without taking anything."""
        self._tell_group()
        self._pause(self._assignment.flowing)
        deadline = time.monotonic() + duration_s
        while (left := deadline - time.monotonic()) > 0:
            message = self._consumer.poll(left)
            for record in () if message is None else self._take([message]):
                # It was fetched before the pause: read it again later.
                self._assignment.look_again([Key(record.topic, record.partition)])
        self._resume(self._assignment.flowing)

    def place_again(self) -> None:
        """Begin anew at the stored positions, as after a rebalance."""
        self._assignment.look_again([*self._assignment.flowing, *self._assignment.held])

    def set_aside(self, topic: str, partition: int, problem: str) -> None:
        """Take nothing more from a partition that is not the log which the database knows."""
        self._assignment.set_aside(Key(topic, partition), problem)

    def partitions(self) -> signals.Partitions:
        """Return what this member has now, without asking anybody."""
        return self._assignment.partitions(committed=self._group_offsets)

    def take_ends(self) -> Iterable[messages.LogEnd]:
        """Return the ends that were reached since the last call."""
        return self._assignment.take_ends()

    def commit(self, records: Iterable[messages.Record]) -> None:
        """Note how far these have been handled; the group is told soon, without waiting, and without harm if it fails.

        Only tools read it, and each time costs the broker more than handling a command does.
        """
        self._uncommitted |= {Key(record.topic, record.partition): record.offset + 1 for record in records}

    def leave(self) -> None:
        """Leave the group until `join`, so that its offsets can be moved.

        That takes effect while it is polled, or kept alive. A static member leaves, too, other than by `close`; but of
        the consumer protocol Kafka keeps it until its session has ended.
        """
        self._tell_group()
        self._consumer.unsubscribe()

    def join(self) -> None:
        """Be a member again; every partition is placed anew."""
        self._subscribe()

    def close(self) -> None:
        """Leave the group, so that others take over at once (a static member keeps its place)."""
        self._tell_group()
        self._consumer.close()

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            self._names, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def _tell_group(self) -> None:
        offsets = [confluent_kafka.TopicPartition(*key, offset) for key, offset in self._uncommitted.items()]
        self._uncommitted.clear()
        self._committed_until = time.monotonic() + _COMMIT_INTERVAL_S
        with contextlib.suppress(confluent_kafka.KafkaException):
            if offsets:
                self._consumer.commit(offsets=offsets, asynchronous=True)

    def _on_commit(
        self, error: confluent_kafka.KafkaError | None, offsets: list[confluent_kafka.TopicPartition]
    ) -> None:
        """Note what the group has; what it has not does no harm, and is committed with the next batch."""
        if error is None:
            self._group_offsets |= {Key(one.topic, one.partition): one.offset for one in offsets if one.error is None}

    def _take(self, fetched: Iterable[confluent_kafka.Message]) -> list[messages.Record]:
        records, errors = self._assignment.take(fetched)
        for message in errors:
            self._on_error(message.topic(), message.error())
        return records

    def _on_error(self, topic: str | None, error: confluent_kafka.KafkaError) -> None:
        if error.fatal() or error.code() == confluent_kafka.KafkaError._FATAL:  # noqa: SLF001 - librdkafka's own codes begin so
            raise ports.MembershipLost(
                f"Kafka no longer lets this worker be a member of its group: {error.str()}; "
                "if another worker uses the same ALLOCATION_CONSUMER_INSTANCE_ID, give each its own",
                was_member=self.rebalances > 0,
            )
        log.warning("kafka.consumer_error", topic=topic, code=error.name(), detail=error.str())

    def _place_again(self) -> None:
        keys = sorted(self._assignment.unplaced)
        for key, where in self._places.of(keys, self._committed(keys)).items():
            self._assignment.place(key, where)
        self._go_on(keys)

    def _let_go(self) -> None:
        """Begin with partitions once those that they wait for have been handled as far as they went then."""
        self._held_until = time.monotonic() + _HELD_INTERVAL_S
        passed = [key for key, after in self._assignment.awaited().items() if self._places.are_passed(after)]
        for key in passed:
            self._assignment.let_go(key)
        self._go_on(passed)

    def _go_on_where_decided(self) -> None:
        """Join the group anew once an operator has decided on what was set aside."""
        try:
            decided = self._places.decided(sorted(self._assignment.aside))
        except ports.DependencyDown:  # of what is set aside only: the others must not stand still for that
            self._undecided_until = time.monotonic() + _UNDECIDED_REST_S
            return
        self._undecided_until = time.monotonic() + _DECIDED_INTERVAL_S
        if decided:
            log.info("worker.partitions_decided", at={str(key): where.offset for key, where in decided.items()})
            self._join_anew(decided)

    def _join_anew(self, keys: Iterable[Key]) -> None:
        """Have all placed anew; of these partitions nothing is taken before.

        The client does not let go on elsewhere in a partition that it has given up, as when its topic was deleted.
        """
        for key in keys:
            self._assignment.forget(key)
        self._consumer.unsubscribe()
        self._subscribe()

    def _committed(self, keys: Sequence[Key]) -> dict[Key, int]:
        asked = [confluent_kafka.TopicPartition(*key) for key in keys]
        try:
            found = self._consumer.committed(asked, timeout=_COMMITTED_TIMEOUT_S)
        except confluent_kafka.KafkaException as error:
            raise ports.DependencyDown(f"Kafka does not tell the group's offsets: {error}") from error
        return {Key(one.topic, one.partition): one.offset for one in found if one.offset >= 0}

    def _on_assign(self, consumer: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        kill_points.reached("worker.during_rebalance")
        places = self._place_first([Key(one.topic, one.partition) for one in partitions])
        for partition in partitions:
            where = places.get(Key(partition.topic, partition.partition))
            partition.offset = where.offset if isinstance(where, placement.Place) else confluent_kafka.OFFSET_END
        if self._incremental:
            consumer.incremental_assign(partitions)
        else:
            consumer.assign(partitions)
        for key, where in places.items():
            self._assignment.place(key, where)
        # The client keeps a partition paused that was so when it was taken away, also when it comes back.
        self._resume(key for key in places if key in self._assignment.flowing)
        self.rebalances += 1
        log.info("worker.assigned", at={f"{one.topic}/{one.partition}": one.offset for one in partitions})

    def _place_first(self, keys: Sequence[Key]) -> dict[Key, placement.Place | placement.Misfit]:
        """Place new partitions, waiting for what is needed; none of them once the worker is to stop.

        They must not be read from anywhere else: of what is not placed nothing is taken.
        """
        while not self._give_up():
            try:
                return self._places.of(keys, self._committed(keys))
            except ports.DependencyDown as error:
                log.warning("worker.assignment_waits", error=str(error))
                time.sleep(_PLACEMENT_RETRY_S)
        return {}

    def _on_revoke(self, consumer: confluent_kafka.Consumer, partitions: list[confluent_kafka.TopicPartition]) -> None:
        self._tell_group()
        for partition in partitions:
            key = Key(partition.topic, partition.partition)
            self._assignment.forget(key)
            self._group_offsets.pop(key, None)
        if self._incremental:
            consumer.incremental_unassign(partitions)
        else:
            consumer.unassign()
        self.rebalances += 1
        log.info("worker.revoked", partitions=len(partitions))

    def _go_on(self, keys: Iterable[Key]) -> None:
        """Fetch from where they are to go on, of those of these that flow."""
        flows = {key: flow for key in keys if (flow := self._assignment.flowing.get(key)) is not None}
        try:
            for key, flow in flows.items():
                self._consumer.seek(confluent_kafka.TopicPartition(*key, flow.next_offset))
        except confluent_kafka.KafkaException as error:
            log.warning("worker.joins_anew", error=str(error))
            self._join_anew(flows)
        else:
            self._resume(flows)

    def _pause(self, keys: Iterable[Key]) -> None:
        self._consumer.pause([confluent_kafka.TopicPartition(*key) for key in keys])

    def _resume(self, keys: Iterable[Key]) -> None:
        self._consumer.resume([confluent_kafka.TopicPartition(*key) for key in keys])
