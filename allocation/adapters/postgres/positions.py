"""How far each log has been handled, moved by compare-and-set in the transaction of the effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import arrays
from allocation.service_layer import messages, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from allocation.adapters.postgres import writes

_READ_ALL = "SELECT topic_id, partition, topic, next_offset, leader_epoch, last_offset, last_digest FROM positions"
_READ = f"""
{_READ_ALL} JOIN unnest(%s::text[], %s::int[]) AS wanted (topic_id, partition) USING (topic_id, partition)
"""
_MOVE = """
UPDATE positions SET topic = %s, next_offset = %s, leader_epoch = %s, last_offset = %s, last_digest = %s
WHERE topic_id = %s AND partition = %s AND next_offset = %s
"""
_BEGIN = """
INSERT INTO positions (topic, next_offset, leader_epoch, last_offset, last_digest, topic_id, partition)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
_FORGET = """
DELETE FROM positions USING unnest(%s::text[], %s::int[]) AS gone (topic_id, partition)
WHERE positions.topic_id = gone.topic_id AND positions.partition = gone.partition
"""


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


def move(
    changes: writes.Writes,
    log: messages.LogPartition,
    *,
    expected: unit_of_work.Position | None,
    new: unit_of_work.Position,
) -> None:
    """Have a position set that still is what was read; if another worker has moved it, that fails as `Retryable`."""
    otherwise = f"another worker has moved the position of {new.topic}/{log.partition}"
    if expected is None:
        changes.change(_BEGIN, (*new, *log), rows=1, otherwise=otherwise)
    else:
        changes.change(_MOVE, (*new, *log, expected.next_offset), rows=1, otherwise=otherwise)


def forget(cursor: Any, logs: Collection[messages.LogPartition]) -> None:
    """Delete the positions of these logs."""
    cursor.execute(_FORGET, ([log.topic_id for log in logs], [log.partition for log in logs]))
