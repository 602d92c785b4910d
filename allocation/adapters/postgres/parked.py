"""Commands that wait, and those that keep their place behind them; an order per queue."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from datetime import date
from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import arrays, copying, headers
from allocation.domain import commands
from allocation.service_layer import messages, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

_COLUMNS = (
    "queue", "state", "reason", "error", "expires_at", "command", "batchref", "message_source", "message_id",
    "attempt", "digest", "waits", "topic", "topic_id", "partition", "offset", "leader_epoch", "key", "value",
    "headers", "timestamp_ms",
)  # fmt: skip
_FIELDS = ", ".join(f'"{column}"' for column in ("id", *_COLUMNS))
_OF_QUEUES = f"SELECT {_FIELDS} FROM parked WHERE queue = ANY(%s::text[]) ORDER BY id"  # noqa: S608 - constants
_HEADS_OF_QUEUES = f"""
SELECT {_FIELDS} FROM unnest(%s::text[]) AS wanted (name)
CROSS JOIN LATERAL (SELECT * FROM parked WHERE queue = wanted.name ORDER BY id LIMIT 1) AS head
ORDER BY id
"""  # noqa: S608 - constants
# Only what stands first in its queue: what is behind a poisoned command stays overdue, and would fill the limit.
_OVERDUE = f"""
SELECT {_FIELDS} FROM parked AS one WHERE expires_at <= %s
    AND NOT EXISTS (SELECT FROM parked AS before WHERE before.queue = one.queue AND before.id < one.id)
ORDER BY id LIMIT %s
"""  # noqa: S608 - constants
# The oldest of a queue, and its first poisoned command, which may stand far behind those that wait.
_HEAD = f"""
SELECT {_FIELDS} FROM parked WHERE queue = %(queue)s AND id IN (
    (SELECT id FROM parked WHERE queue = %(queue)s ORDER BY id LIMIT %(limit)s)
    UNION (SELECT min(id) FROM parked WHERE queue = %(queue)s AND state = 'poisoned')
) ORDER BY id
"""  # noqa: S608 - constants
_LISTED = f"""
SELECT {_FIELDS}, parked_at, extract(epoch FROM clock_timestamp() - parked_at)::float8 FROM parked
WHERE (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s)) AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s))
    AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s))
ORDER BY id LIMIT %(limit)s
"""  # noqa: S608 - constants
_QUEUES_NAMING = "SELECT DISTINCT queue FROM parked WHERE batchref = ANY(%s)"
_REMOVE = "DELETE FROM parked WHERE id = ANY(%s)"

_COMMANDS = {kind.__name__: kind for kind in (commands.CreateBatch, commands.Allocate, commands.ChangeBatchQuantity)}


class Parked:
    """The queues that one unit of work has claimed."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._queues: dict[str, dict[int, unit_of_work.ParkedCommand]] = {}  # by the order in which they came
        self._places: dict[tuple[messages.LogPartition, int], int] = {}  # of each record in that order
        self._naming: dict[str, Counter[str]] = defaultdict(Counter)  # queues by the batch that their commands name
        self._added: dict[int, unit_of_work.ParkedCommand] = {}
        self._removed: list[int] = []
        self._next_place = itertools.count()

    def load(self, queues: Collection[str]) -> Iterable[messages.Message]:
        """Read all that is parked in these queues; return the messages."""
        return self._load(_OF_QUEUES, queues)

    def load_heads(self, queues: Collection[str]) -> Iterable[messages.Message]:
        """Read the oldest of what is parked in each of these queues; return the messages."""
        return self._load(_HEADS_OF_QUEUES, queues)

    def _load(self, statement: str, queues: Collection[str]) -> Iterable[messages.Message]:
        if not queues:
            return ()
        self._cursor.execute(statement, (arrays.texts(queues),))
        found = [_parked(row) for row in self._cursor]
        for parked in found:
            self._append(parked)
        return [parked.message for parked in found]

    def of(self, queues: Collection[str]) -> Sequence[unit_of_work.ParkedCommand]:
        """Return what is parked in these queues, the oldest first."""
        if not self._queues:
            return ()
        found = [one for queue in queues for one in self._queues.get(queue, {}).items()]
        if len(queues) > 1:
            found.sort(key=_place)
        return [parked for _, parked in found]

    def queues_naming(self, batchref: str) -> Collection[str]:
        """Return the loaded queues that hold a command for this batch."""
        return (+self._naming[batchref]).keys() if batchref in self._naming else ()

    def add(self, parked: unit_of_work.ParkedCommand) -> None:
        """Put a command at the end of its queue."""
        self._added[self._append(parked)] = parked

    def remove(self, parked: unit_of_work.ParkedCommand) -> None:
        """Take a command out."""
        place = self._places.pop(_coordinates(parked))
        queue = self._queues[parked.queue]
        del queue[place]
        if not queue:
            del self._queues[parked.queue]
        batchref = _batchref(parked.message)
        if batchref is not None:
            self._naming[batchref][parked.queue] -= 1
        if parked.id is None:
            del self._added[place]
        else:
            self._removed.append(parked.id)

    def _append(self, parked: unit_of_work.ParkedCommand) -> int:
        place = self._places[_coordinates(parked)] = next(self._next_place)
        self._queues.setdefault(parked.queue, {})[place] = parked
        batchref = _batchref(parked.message)
        if batchref is not None:
            self._naming[batchref][parked.queue] += 1
        return place

    def flush(self) -> None:
        """Write what was added and removed."""
        if self._removed:
            self._cursor.execute(_REMOVE, (self._removed,))
        copying.copy_in(self._cursor, "parked", _COLUMNS, [_row(parked) for parked in self._added.values()])


def queues_naming(cursor: Any, batchrefs: Collection[str]) -> set[str]:
    """Return the names of all queues that hold a command for one of these batches."""
    cursor.execute(_QUEUES_NAMING, (list(batchrefs),))
    return {queue for (queue,) in cursor}


def overdue(cursor: Any, expired_at: Any, *, limit: int) -> Sequence[unit_of_work.ParkedCommand]:
    """Return the first commands of their queues whose grace ended by `expired_at`, the oldest first."""
    cursor.execute(_OVERDUE, (expired_at, limit))
    return [_parked(row) for row in cursor]


def head(cursor: Any, queue: str, *, limit: int) -> Sequence[unit_of_work.ParkedCommand]:
    """Return the oldest commands of a queue, and its first poisoned one wherever that stands."""
    cursor.execute(_HEAD, {"queue": queue, "limit": limit})
    return [_parked(row) for row in cursor]


def listed(
    cursor: Any,
    *,
    ids: Collection[int],
    queues: Collection[str],
    states: Collection[str],
    limit: int | None,
) -> Sequence[tuple[unit_of_work.ParkedCommand, datetime, float]]:
    """Return parked commands, the oldest first, with when they were parked and how many seconds ago.

    What is empty does not matter.
    """
    wanted = {"ids": ids, "queues": queues, "states": states}
    cursor.execute(_LISTED, {name: list(given) or None for name, given in wanted.items()} | {"limit": limit})
    return [(_parked(row), at, age_s) for *row, at, age_s in cursor]


def _place(one: tuple[int, unit_of_work.ParkedCommand]) -> int:
    return one[0]


def _coordinates(parked: unit_of_work.ParkedCommand) -> tuple[messages.LogPartition, int]:
    record = parked.message.record
    return record.log, record.offset


def _batchref(message: messages.Message) -> str | None:
    command = message.command
    return command.ref if isinstance(command, commands.ChangeBatchQuantity) else None


def _row(parked: unit_of_work.ParkedCommand) -> tuple[object, ...]:
    message, record = parked.message, parked.message.record
    return (
        parked.queue, parked.state, parked.reason, parked.error, parked.expires_at, _dump(message.command),
        _batchref(message), message.id.source, message.id.id, message.attempt, message.digest, message.waits,
        record.topic, record.topic_id, record.partition, record.offset, record.leader_epoch, record.key, record.value,
        headers.dump(record.headers), record.timestamp_ms,
    )  # fmt: skip


def _parked(row: Sequence[Any]) -> unit_of_work.ParkedCommand:
    (
        id_, queue, state, reason, error, expires_at, command, _, source, message_id, attempt, digest, waits,
        topic, topic_id, partition, offset, leader_epoch, key, value, header_text, timestamp_ms,
    ) = row  # fmt: skip
    record = messages.Record(
        topic, topic_id, partition, offset, leader_epoch, _bytes(key), _bytes(value), headers.load(header_text),
        timestamp_ms,
    )  # fmt: skip
    message = messages.Message(
        record, messages.MessageId(source, message_id), attempt, bytes(digest), _load(command), waits
    )
    return unit_of_work.ParkedCommand(queue, state, message, reason, error, expires_at, id_)


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def _dump(command: object) -> str:
    fields = {name: getattr(command, name) for name in command.__slots__}  # type: ignore[attr-defined]
    return json.dumps({"type": type(command).__name__, **fields}, default=date.isoformat)


def _load(stored: dict[str, Any]) -> commands.Command:
    fields = dict(stored)
    kind = _COMMANDS[fields.pop("type")]
    if fields.get("eta"):
        fields["eta"] = date.fromisoformat(fields["eta"])
    return kind(**fields)
