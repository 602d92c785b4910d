"""Parked commands from and to their rows."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import headers
from allocation.domain import commands
from allocation.service_layer import messages, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = (
    "queue", "state", "reason", "error", "error_class", "stack", "expires_at", "command", "batchref",
    "message_source", "message_id", "attempt", "digest", "waits", "topic", "topic_id", "partition", "offset",
    "leader_epoch", "key", "value", "headers", "timestamp_ms",
)  # fmt: skip
FIELDS = ", ".join(f'"{column}"' for column in ("id", *COLUMNS))
# What may go on although something before it waits, or lets nothing pass; see the index of that name.
LANDMARK = "(state = 'poisoned' OR command ->> 'type' = 'CreateBatch')"

_COMMANDS = {kind.__name__: kind for kind in (commands.CreateBatch, commands.Allocate, commands.ChangeBatchQuantity)}


def dump(parked: unit_of_work.ParkedCommand) -> tuple[object, ...]:
    """Return the values of `COLUMNS`."""
    message, record = parked.message, parked.message.record
    return (
        parked.queue, parked.state, parked.reason, parked.error, parked.error_class, parked.stack, parked.expires_at,
        _dump(message.command), batchref(message), message.id.source, message.id.id, message.attempt, message.digest,
        message.waits, record.topic, record.topic_id, record.partition, record.offset, record.leader_epoch, record.key,
        record.value, headers.dump(record.headers), record.timestamp_ms,
    )  # fmt: skip


def read(cursor: Any, statement: str, given: Any) -> list[unit_of_work.ParkedCommand]:
    """Return the commands that a statement finds; it selects `FIELDS`."""
    cursor.execute(statement, given)
    return [load(row) for row in cursor]


def load(row: Sequence[Any]) -> unit_of_work.ParkedCommand:
    """Return the command of a row of `FIELDS`."""
    (
        id_, queue, state, reason, error, error_class, stack, expires_at, command, _, source, message_id, attempt,
        digest, waits, topic, topic_id, partition, offset, leader_epoch, key, value, header_text, timestamp_ms,
    ) = row  # fmt: skip
    record = messages.Record(
        topic, topic_id, partition, offset, leader_epoch, _bytes(key), _bytes(value), headers.load(header_text),
        timestamp_ms,
    )  # fmt: skip
    message = messages.Message(
        record, messages.MessageId(source, message_id), attempt, bytes(digest), _load(command), waits
    )
    return unit_of_work.ParkedCommand(queue, state, message, reason, error, expires_at, id_, error_class, stack)


def batchref(message: messages.Message) -> str | None:
    """Return the reference that a command waits for, if it may wait for one."""
    command = message.command
    return command.ref if isinstance(command, commands.ChangeBatchQuantity) else None


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
