"""What one unit of work puts into the outbox, and its row of the journal, which goes out ahead of all else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import allocation
from allocation.adapters.postgres import headers, writes
from allocation.service_layer import messages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

_JOURNAL = "INSERT INTO journal (number, version, entries) VALUES (nextval('journal_number'), %s, %s) RETURNING number"
_COLUMNS = ("shard", "topic", "partition", "key", "value", "headers", "sku")
# The journal's row as a message, in the order of `_COLUMNS`; only the server knows its number.
_JOURNAL_MESSAGE = """
SELECT %s::smallint, %s::text, NULL::int, convert_to(number::text, 'UTF8'),
    convert_to('{"number": ' || number || ', ' || %s, 'UTF8'), %s::text, NULL::text FROM journal_row
"""
_SHARD = 0  # all rows belong to one shard until a relay is measured to be too slow for that


class JournalRow(NamedTuple):
    """A row of the journal but for its number; `oldest_ms` is when the oldest of its commands was sent, if any was."""

    topic: str
    handled_at: datetime
    entries: Sequence[Sequence[object]]
    oldest_ms: int | None


def insert(changes: writes.Writes, outbox: Sequence[messages.OutboxMessage], *, journal: JournalRow | None) -> None:
    """Have these messages inserted in their order, and before them the journal's row, which gets its number by that."""
    columns = _columns(outbox) if outbox else ()
    if journal is not None:
        entries = json.dumps(journal.entries)
        changes.name("journal_row", _JOURNAL, (allocation.__version__, entries))
        first = writes.Selected(_JOURNAL_MESSAGE, _journal_values(journal, entries))
        changes.insert("outbox", _COLUMNS, columns, first=first)
    elif columns:
        changes.insert("outbox", _COLUMNS, columns)


def _journal_values(row: JournalRow, entries: str) -> Sequence[object]:
    """Return the values of `_JOURNAL_MESSAGE`."""
    others = json.dumps({"handled_at": row.handled_at.isoformat(), "version": allocation.__version__})
    since = () if row.oldest_ms is None else ((messages.COMMANDS_SINCE, b"%d" % row.oldest_ms),)
    return _SHARD, row.topic, f'{others[1:-1]}, "entries": {entries}}}', headers.dump(since)


def _columns(outbox: Sequence[messages.OutboxMessage]) -> Sequence[Sequence[object]]:
    """Return the values of `_COLUMNS`."""
    topics, keys, values, many_headers, skus, partitions = zip(*outbox, strict=True)
    return [[_SHARD] * len(outbox), topics, partitions, keys, values, headers.dump_all(many_headers), skus]
