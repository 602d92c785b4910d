"""Relays that lack a remedy each."""

# ruff: noqa: SLF001 - what is taken out lies inside

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import confluent_kafka

from allocation import bootstrap
from allocation.adapters.kafka import relay_checkpoints, relay_client
from allocation.adapters.postgres import outbox_rows
from allocation.service_layer.relaying import checkpoints, passes, ports, recovery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from allocation.adapters.kafka import clients

_GONE = "DELETE FROM outbox WHERE shard = %s AND id <= %s"


def deletes_first() -> None:
    """Delete the rows, then send them."""

    def relay(self: passes.ShardRelay, rows: Sequence[ports.Row]) -> None:
        checkpoint = self._checkpoint(rows)
        self._settle(checkpoint)
        self._kafka_log.send(rows, checkpoint)

    def unsettled(*_: Any, **__: Any) -> None:
        """See nothing odd in a database that is ahead of its topic."""

    passes.ShardRelay._relay = relay  # type: ignore[method-assign]
    recovery.unsettled = unsettled


def forgets_its_checkpoint() -> None:
    """Recover nothing after a crash: what is in the outbox is sent."""

    def unsettled(*_: Any, **__: Any) -> None:
        pass

    recovery.unsettled = unsettled


def by_last_id() -> None:
    """Go on behind the last id that was sent."""
    original = outbox_rows.OutboxRows.read
    last = 0

    def read(self: outbox_rows.OutboxRows, *, limit: int, state: ports.ShardState) -> ports.Window:
        nonlocal last
        self._cursor.execute(_GONE, (self._shard, last))
        window = original(self, limit=limit, state=state)
        rows = [row for row in window.rows if row[0] > last]
        last = max((row[0] for row in rows), default=last)
        return ports.Window(rows, is_cut=window.is_cut)

    outbox_rows.OutboxRows.read = read  # type: ignore[method-assign]


def of_any_incarnation() -> None:
    """Take the checkpoint for one of this database, although the database has begun a new life since."""
    original = recovery.unsettled

    def unsettled(checkpoint: checkpoints.Checkpoint | None, *, state: ports.ShardState, shard: int) -> Any:
        if checkpoint is not None:
            checkpoint = dataclasses.replace(checkpoint, incarnation=state.incarnation)
        settled = original(checkpoint, state=state, shard=shard)
        return settled and dataclasses.replace(settled, incarnation=state.incarnation)

    recovery.unsettled = unsettled


def one_checkpoint_partition() -> None:
    """Put the checkpoints of all shards into one partition, and look there for the last committed one of the shard."""
    original_put, first = relay_client.put, relay_checkpoints.last

    def put(producer: Any, topic: str, value: Any, key: Any, partition: int, headers: Any) -> None:
        is_checkpoint = topic.endswith("relay_checkpoint")
        original_put(producer, topic, value, key, 0 if is_checkpoint else partition, headers)

    def last(config: clients.ClientConfig, *, topic: str, partition: int) -> checkpoints.Checkpoint | None:
        consumer = confluent_kafka.Consumer(config.consumer(**{"enable.partition.eof": True}))
        consumer.assign([confluent_kafka.TopicPartition(topic, 0, confluent_kafka.OFFSET_BEGINNING)])
        found = None
        while (message := consumer.poll(10)) is not None and message.error() is None:
            if message.key() == b"%d" % partition:
                found = checkpoints.Checkpoint.from_json(message.value() or b"")
        consumer.close()
        return found or first(config, topic=topic, partition=partition)  # which `allocation init` has put elsewhere

    relay_client.put = put
    relay_checkpoints.last = last


def _only_shard(number: int) -> Callable[[], None]:
    def only() -> None:
        bootstrap.relay_shards = lambda settings: (number,)  # noqa: ARG005 - called by its name too

    only.__name__ = f"only_shard_{number}"
    return only


# The first break nothing by themselves: they let a process be killed that has one shard alone.
VARIANTS: Iterable[Any] = (
    _only_shard(0),
    _only_shard(1),
    deletes_first,
    forgets_its_checkpoint,
    by_last_id,
    of_any_incarnation,
    one_checkpoint_partition,
)
