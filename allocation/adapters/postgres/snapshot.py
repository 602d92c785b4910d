"""The whole database at one moment, for `verify`.

One read-only transaction at REPEATABLE READ: all statements see what was committed before the first
of them, however long the others take. Source: PostgreSQL manual, Transaction Isolation.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import engine, headers
from allocation.service_layer import messages, unit_of_work
from allocation.service_layer.operations.verify import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

# A million rows take some seconds; only a worker's transaction must be short.
_LONG = engine.lasting("10min")
_BEGIN = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"

_POSITIONS = "SELECT topic_id, partition, topic, next_offset FROM positions"
_PRODUCTS = "SELECT sku, version_number, event_sequence FROM products"
_BATCHES = "SELECT reference, sku, created_quantity, purchased, allocated, eta, line_count FROM batches"
_LINES = "SELECT orderid, sku, qty, batchref, place FROM order_lines"
_INBOX = """
SELECT source, id, attempt, digest, outcome, result, reason, topic, partition, "offset" FROM inbox
"""
_PARKED = 'SELECT topic, partition, "offset", state FROM parked'
_OUTBOX = "SELECT id, topic, key, value, headers, quarantined IS NOT NULL FROM outbox ORDER BY id"
_JOURNAL = "SELECT number, entries, handled_at FROM journal ORDER BY number"
_PRUNED = "SELECT name, before FROM prunings"
_REPEATS_UNTIL = """
SELECT max(CASE delivery WHEN 'at_least_once' THEN now() + interval '1 day' ELSE repeated_until END) FROM relay_shards
"""
_JOURNAL_NUMBERS = "SELECT number FROM journal"
_COUNTERS = "SELECT sku, event_sequence FROM products"


class PostgresSnapshots:
    """See `verify.ports.Database`."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        self._database = database

    def read(self) -> snapshot.Snapshot:
        """Return everything as of one moment."""
        with self._one_moment() as cursor:
            return snapshot.Snapshot(
                positions=_positions(cursor),
                products={sku: snapshot.Product(*rest) for sku, *rest in _rows(cursor, _PRODUCTS)},
                batches={row[0]: snapshot.Batch(*row) for row in _rows(cursor, _BATCHES)},
                lines={
                    snapshot.Line(orderid, sku, qty): snapshot.Placed(batchref, place)
                    for orderid, sku, qty, batchref, place in _rows(cursor, _LINES)
                },
                inbox={messages.MessageId(row[0], row[1]): _outcome(*row[2:]) for row in _rows(cursor, _INBOX)},
                parked={snapshot.Coordinates(*at): state for *at, state in _rows(cursor, _PARKED)},
                outbox=[_outbox_row(*row) for row in _rows(cursor, _OUTBOX)],
                journal=[
                    snapshot.JournalRow(number, [unit_of_work.JournalEntry(*entry) for entry in entries], at)
                    for number, entries, at in _rows(cursor, _JOURNAL)
                ],
                pruned=dict(_rows(cursor, _PRUNED)),
                repeats_until=next(_rows(cursor, _REPEATS_UNTIL))[0],
            )

    def later(self) -> snapshot.Later:
        """Return the counters as of now."""
        with self._one_moment() as cursor:
            return snapshot.Later(
                event_sequences=dict(_rows(cursor, _COUNTERS)),
                positions=_positions(cursor),
                journal_numbers=frozenset(number for (number,) in _rows(cursor, _JOURNAL_NUMBERS)),
            )

    @contextlib.contextmanager
    def _one_moment(self) -> Iterator[Any]:
        with engine.cursor(self._database) as cursor:
            cursor.execute(_BEGIN)
            cursor.execute(_LONG)
            yield cursor


def _rows(cursor: Any, query: str) -> Iterator[Any]:
    cursor.execute(query)
    return iter(cursor.fetchall())


def _positions(cursor: Any) -> dict[messages.LogPartition, tuple[str, int]]:
    return {
        messages.LogPartition(topic_id, partition): (topic, next_offset)
        for topic_id, partition, topic, next_offset in _rows(cursor, _POSITIONS)
    }


def _outcome(attempt: int, digest: Any, outcome: str, result: str | None, reason: str | None, *at: Any) -> Any:
    return snapshot.Outcome(attempt, bytes(digest), outcome, result, reason, snapshot.Coordinates(*at))


def _outbox_row(id_: int, topic: str, key: Any, value: Any, text: str, is_quarantined: bool) -> snapshot.OutboxRow:  # noqa: FBT001 - a column
    return snapshot.OutboxRow(id_, topic, _bytes(key), _bytes(value), headers.load(text), is_quarantined)


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)
