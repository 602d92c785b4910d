"""Commands that wait, and those that keep their place behind them; an order per queue."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import date
from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import copying, headers
from allocation.domain import commands
from allocation.service_layer import messages, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

_COLUMNS = (
    "queue", "state", "reason", "error", "expires_at", "command", "batchref", "message_source", "message_id",
    "attempt", "digest", "waits", "topic", "topic_id", "partition", "offset", "leader_epoch", "key", "value",
    "headers", "timestamp_ms",
)  # fmt: skip
_FIELDS = ", ".join(f'"{column}"' for column in ("id", *_COLUMNS))
_OF_QUEUES = f"SELECT {_FIELDS} FROM parked WHERE queue = ANY(%s) ORDER BY id"  # noqa: S608 - constants
_OVERDUE = f"SELECT {_FIELDS} FROM parked WHERE expires_at <= %s ORDER BY id LIMIT %s"  # noqa: S608 - constants
_QUEUES_NAMING = "SELECT DISTINCT queue FROM parked WHERE batchref = ANY(%s)"
_REMOVE = "DELETE FROM parked WHERE id = ANY(%s)"

_COMMANDS = {kind.__name__: kind for kind in (commands.CreateBatch, commands.Allocate, commands.ChangeBatchQuantity)}


class Parked:
    """The queues that one unit of work has claimed."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._queues: dict[str, list[unit_of_work.ParkedCommand]] = {}
        self._naming: dict[str, Counter[str]] = defaultdict(Counter)  # queues by the batch that their commands name
        self._added: list[unit_of_work.ParkedCommand] = []
        self._removed: list[int] = []

    def load(self, queues: Collection[str]) -> Iterable[messages.Message]:
        """Read all that is parked in these queues; return the messages."""
        self._cursor.execute(_OF_QUEUES, (list(queues),))
        for row in self._cursor:
            self._append(_parked(row))
        return [parked.message for queue in self._queues.values() for parked in queue]

    def of(self, queues: Collection[str]) -> Sequence[unit_of_work.ParkedCommand]:
        """Return what is parked in these queues, the oldest first."""
        if not self._queues:
            return ()
        found = [parked for queue in queues for parked in self._queues.get(queue, ())]
        if len(queues) > 1:
            found.sort(key=_age)
        return found

    def queues_naming(self, batchref: str) -> Collection[str]:
        """Return the loaded queues that hold a command for this batch."""
        return (+self._naming[batchref]).keys() if batchref in self._naming else ()

    def add(self, parked: unit_of_work.ParkedCommand) -> None:
        """Put a command at the end of its queue."""
        self._append(parked)
        self._added.append(parked)

    def remove(self, parked: unit_of_work.ParkedCommand) -> None:
        """Take a command out."""
        queue = self._queues[parked.queue]
        queue.remove(parked)
        batchref = _batchref(parked.message)
        if batchref is not None:
            self._naming[batchref][parked.queue] -= 1
        if not queue:
            del self._queues[parked.queue]
        if parked.id is None:
            self._added.remove(parked)
        else:
            self._removed.append(parked.id)

    def _append(self, parked: unit_of_work.ParkedCommand) -> None:
        self._queues.setdefault(parked.queue, []).append(parked)
        batchref = _batchref(parked.message)
        if batchref is not None:
            self._naming[batchref][parked.queue] += 1

    def flush(self) -> None:
        """Write what was added and removed."""
        if self._removed:
            self._cursor.execute(_REMOVE, (self._removed,))
        copying.copy_in(self._cursor, "parked", _COLUMNS, [_row(parked) for parked in self._added])


def queues_naming(cursor: Any, batchrefs: Collection[str]) -> set[str]:
    """Return the names of all queues that hold a command for one of these batches."""
    cursor.execute(_QUEUES_NAMING, (list(batchrefs),))
    return {queue for (queue,) in cursor}


def overdue(cursor: Any, expired_at: Any, *, limit: int) -> Sequence[unit_of_work.ParkedCommand]:
    """Return parked commands whose grace ended by `expired_at`, the oldest first."""
    cursor.execute(_OVERDUE, (expired_at, limit))
    return [_parked(row) for row in cursor]


def _age(parked: unit_of_work.ParkedCommand) -> tuple[bool, int]:
    return (parked.id is None, parked.id or 0)


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
