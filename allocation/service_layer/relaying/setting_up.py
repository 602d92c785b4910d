"""Give each shard of the outbox its first checkpoint, so that a missing one always means a lost one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from allocation.service_layer.relaying import checkpoints

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from allocation.service_layer.relaying import ports


class OpenLog(Protocol):
    """Opens the Kafka side of a shard of a database, that with the checkpoints."""

    def __call__(self, *, shard: int, database_id: str) -> AbstractContextManager[ports.TransactionLog]:
        """Return a log on which every other relay of the shard is fenced off."""


def create_shards(shards: ports.Shards, *, count: int, delivery: ports.Delivery, open_log: OpenLog) -> None:
    """Make shards 0 to `count` - 1; may be repeated, also by several at once. Raises `Retryable`.

    One that is there stays as it is: its relay knows when it may deliver otherwise.
    """
    for shard in shards.add(count=count, delivery=delivery):
        with shards.unchecked(shard) as pending:
            if pending is not None:
                _write_first_checkpoint(shard, pending, open_log)


def _write_first_checkpoint(shard: int, pending: ports.PendingShard, open_log: OpenLog) -> None:
    with open_log(shard=shard, database_id=pending.state().database_id) as transactions:
        # Asked again after the fence: whoever lost the lock meanwhile has been, or is about to be, fenced off
        # itself, and must not write a checkpoint over that of a relay at work.
        state = pending.state()
        transactions.send(
            (),
            checkpoints.Checkpoint(database_id=state.database_id, incarnation=state.incarnation, number=state.passes),
        )
    pending.finish()
