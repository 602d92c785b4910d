"""How far each log has been handled, moved by compare-and-set in the transaction of the effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from allocation.adapters.postgres import arrays
from allocation.service_layer import messages, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from allocation.adapters.postgres import writes

_READ_ALL = "SELECT topic_id, partition, topic, next_offset, leader_epoch, last_offset, last_digest FROM positions"
_READ = f"""
{_READ_ALL} JOIN unnest(%s::text[], %s::int[]) AS wanted (topic_id, partition) USING (topic_id, partition)
"""
_MOVE = """
UPDATE positions AS p SET topic = v.topic, next_offset = v.next_offset, leader_epoch = v.leader_epoch,
    last_offset = v.last_offset, last_digest = v.last_digest
FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::text[], %s::bigint[], %s::int[], %s::bigint[], %s::bytea[])
    AS v (topic_id, partition, expected, topic, next_offset, leader_epoch, last_offset, last_digest)
WHERE p.topic_id = v.topic_id AND p.partition = v.partition AND p.next_offset = v.expected
"""
_BEGIN = """
INSERT INTO positions (topic_id, partition, topic, next_offset, leader_epoch, last_offset, last_digest)
SELECT * FROM unnest(%s::text[], %s::int[], %s::text[], %s::bigint[], %s::int[], %s::bigint[], %s::bytea[])
ON CONFLICT DO NOTHING
"""
_FORGET = """
DELETE FROM positions USING unnest(%s::text[], %s::int[]) AS gone (topic_id, partition)
WHERE positions.topic_id = gone.topic_id AND positions.partition = gone.partition
"""


class Move(NamedTuple):
    """A position that is to be set, from the one that was read; None: there was none."""

    log: messages.LogPartition
    expected: unit_of_work.Position | None
    new: unit_of_work.Position


def read(cursor: Any, logs: Collection[messages.LogPartition]) -> Mapping[messages.LogPartition, unit_of_work.Position]:
    """Return the positions that there are of these logs."""
    cursor.execute(
        _READ, (arrays.texts([log.topic_id for log in logs]), arrays.numbers([log.partition for log in logs]))
    )
    return _by_log(cursor)


def read_all(cursor: Any) -> Mapping[messages.LogPartition, unit_of_work.Position]:
    """Return all positions."""
    cursor.execute(_READ_ALL)
    return _by_log(cursor)


def _by_log(rows: Iterable[Any]) -> Mapping[messages.LogPartition, unit_of_work.Position]:
    return {
        messages.LogPartition(topic_id, partition): unit_of_work.Position(
            topic, next_offset, leader_epoch, last_offset, bytes(last_digest)
        )
        for topic_id, partition, topic, next_offset, leader_epoch, last_offset, last_digest in rows
    }


def move(changes: writes.Writes, moves: Sequence[Move]) -> None:
    """Have positions set that still are what was read; if another worker has moved one, that fails as `Retryable`."""
    begun = [(*move.log, *move.new) for move in moves if move.expected is None]
    moved = [(*move.log, move.expected.next_offset, *move.new) for move in moves if move.expected is not None]
    names = ", ".join(f"{move.new.topic}/{move.log.partition}" for move in moves)
    for statement, rows in ((_BEGIN, begun), (_MOVE, moved)):
        if rows:
            otherwise = f"another worker has moved the position of {names}"
            changes.change(statement, arrays.columns(rows), rows=len(rows), otherwise=otherwise)


def forget(cursor: Any, logs: Collection[messages.LogPartition]) -> None:
    """Delete the positions of these logs."""
    cursor.execute(_FORGET, ([log.topic_id for log in logs], [log.partition for log in logs]))
