"""Which rows the last transaction sent whose deletion is still to come; and when nobody can tell.

Kafka's last checkpoint is that of the last pass that the database has counted, or of the one after it:
the deletion of its rows was cut short. One of an incarnation that the database knows to be over names rows that are
gone. Anything else means that one of the two is older than the other.
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
    if checkpoint.number == state.passes + 1:
        return checkpoint
    if checkpoint.number != state.passes:
        older = "database" if checkpoint.number > state.passes else "checkpoint topic"
        fact = f"the {older} is the older one: pass {state.passes} in the database, {checkpoint.number} in Kafka"
        raise _stopped(shard, fact)
    return None


def check_rows_are_there(sent: checkpoints.Checkpoint, *, count: int, shard: int) -> None:
    """Raise `RelayStopped` unless the database has every row that was sent."""
    if count != sent.rows:
        fact = f"pass {sent.number} sent {sent.rows} rows, of which the database has {count}: it is an older state"
        raise _stopped(shard, fact)


def _stopped(shard: int, fact: str) -> ports.RelayStopped:
    statement = f"UPDATE relay_shards SET checkpointed = false WHERE shard = {shard}"  # noqa: S608 - for a person to run
    return ports.RelayStopped(
        f"relay shard {shard} stops, since {fact}. Connect the database and the Kafka cluster that belong together. "
        "If the database was restored from a back-up, run `allocation replay restore`. "
        f"To go on with these two, and send what is in the outbox whether or not it was sent before: {statement}, "
        "then `allocation init`"
    )
