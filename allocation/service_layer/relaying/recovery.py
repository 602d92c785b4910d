"""Which rows the last transaction sent whose deletion is still to come; and when nobody can tell.

Kafka's last checkpoint is that of the last pass that the database has counted, or of the one after it:
the deletion of its rows was cut short. One of an incarnation that the database knows to be over names rows that are
gone. Anything else means that one of the two is older than the other.

Without transactions there is nothing to recover: what is in the outbox is sent, whether or not it was sent before. Its
passes are counted all the same, past Kafka's last checkpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.service_layer.relaying import ports

if TYPE_CHECKING:
    from allocation.service_layer.relaying import checkpoints


def unsettled(
    checkpoint: checkpoints.Checkpoint | None, *, state: ports.ShardState, shard: int
) -> checkpoints.Checkpoint | None:
    """Return the checkpoint if its rows are still to be deleted; raises `RelayStopped` if it cannot be ours."""
    if state.delivery is ports.Delivery.AT_LEAST_ONCE:
        return None
    current = _of_this_life(checkpoint, state=state, shard=shard)
    if current is None or current.number == state.passes:
        return None
    if current.number != state.passes + 1:
        older = "database" if current.number > state.passes else "checkpoint topic"
        raise _stopped(shard, _older(older, current, state))
    return current


def check_is_counted(checkpoint: checkpoints.Checkpoint | None, *, state: ports.ShardState, shard: int) -> None:
    """Raise `RelayStopped` unless the database has counted the pass of Kafka's last checkpoint, however long ago."""
    current = _of_this_life(checkpoint, state=state, shard=shard)
    if current is not None and current.number > state.passes:
        raise _stopped(shard, _older("database", current, state))


def check_rows_are_there(sent: checkpoints.Checkpoint, *, count: int, shard: int) -> None:
    """Raise `RelayStopped` unless the database has every row that was sent."""
    if count != sent.rows:
        fact = f"pass {sent.number} sent {sent.rows} rows, of which the database has {count}: it is an older state"
        raise _stopped(shard, fact)


def _of_this_life(
    checkpoint: checkpoints.Checkpoint | None, *, state: ports.ShardState, shard: int
) -> checkpoints.Checkpoint | None:
    """Return the checkpoint, None if it is of an incarnation that is over; raises `RelayStopped` if it is not ours."""
    if not state.is_checkpointed:
        raise ports.RelayStopped(f"relay shard {shard} has no first checkpoint yet; run `allocation init`")
    if checkpoint is None:
        raise _stopped(shard, "its checkpoint is gone from Kafka: the checkpoint topic was emptied or made anew")
    if checkpoint.database_id != state.database_id:
        raise _stopped(shard, f"its checkpoint in Kafka is of another database ({checkpoint.database_id})")
    if checkpoint.incarnation in state.earlier:
        return None
    if checkpoint.incarnation != state.incarnation:
        raise _stopped(shard, "its checkpoint in Kafka is of a later life of the database, which is the older one")
    return checkpoint


def _older(older: str, checkpoint: checkpoints.Checkpoint, state: ports.ShardState) -> str:
    return f"the {older} is the older one: pass {state.passes} in the database, {checkpoint.number} in Kafka"


def _stopped(shard: int, fact: str) -> ports.RelayStopped:
    statement = f"UPDATE relay_shards SET checkpointed = false WHERE shard = {shard}"  # noqa: S608 - for a person to run
    return ports.RelayStopped(
        f"relay shard {shard} stops, since {fact}. Connect the database and the Kafka cluster that belong together. "
        "If the database was restored from a back-up, run `allocation replay restore`. "
        f"To go on with these two, and send what is in the outbox whether or not it was sent before: {statement}, "
        "then `allocation init`"
    )
