"""Everything that can be seen of an installation once it rests: its topics and its tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg2

from tests.chaos.oracle import avro, model
from tests.chaos.oracle import log as logs

if TYPE_CHECKING:
    import datetime as dt

DEAD_LETTERS = "allocation.dead_letter"
JOURNAL = "allocation.journal"

Identity = tuple[str, str]
At = tuple[str, int, int]


class Violation(NamedTuple):
    """Something that must never be; `check` is the name of the check that saw it."""

    check: str
    text: str


class Fate(NamedTuple):
    """What the inbox says of an identity; `at` is where the message lies that it was decided for."""

    outcome: str
    result: str | None
    reason: str | None
    at: At


class BatchRow(NamedTuple):
    sku: str
    created: int
    purchased: int
    allocated: int
    eta: dt.date | None
    line_count: int


class Entry(NamedTuple):
    """A run of offsets in the journal, and what became of them."""

    number: int
    what: str
    topic: str
    partition: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """Topics are named without their prefix."""

    prefix: str
    commands: dict[At, logs.Record]
    events: list[logs.Record]
    dead_letters: list[logs.Record]
    journal: list[Entry]
    journal_numbers: list[int]
    stored_journal: list[tuple[int, Any]]
    topic_ids: dict[str, str]
    schema_ids: dict[str, int]
    fates: dict[Identity, Fate]
    lines: dict[model.Line, tuple[str, int]]
    batches: dict[str, BatchRow]
    products: dict[str, tuple[int, int]]
    parked: list[tuple[str, str, At]]
    unsent: int
    hidden: dict[tuple[str, int], tuple[int, int]]
    quarantined: list[tuple[int, str | None]]

    def identity(self, record: logs.Record) -> Identity:
        """Return a command's identity: what its sender says, or where it lies."""
        own = record.header("ce_id")
        if own:
            return ((record.header("ce_source") or b"").decode(), own.decode())
        return ("kafka", f"{self.topic_ids[record.topic]}/{record.partition}/{record.offset}")

    def read(self, record: logs.Record) -> dict[str, Any] | None:
        """Return a command's fields, None where there are none."""
        return avro.read(record.topic, record.value, self.schema_ids[record.topic])


class Tables:
    """The database by plain SQL."""

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url.replace("+psycopg2", "")
        self._connect()
        self._prefix = prefix

    def close(self) -> None:
        self._connection.close()

    def rows(self, statement: str) -> list[Any]:
        """Return what a statement gives; asks again where the server went away."""
        try:
            return self._rows(statement)
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self._connection.close()
            self._connect()
            return self._rows(statement)

    def execute(self, statement: str) -> None:
        """Run a statement."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    def _connect(self) -> None:
        self._connection = psycopg2.connect(self._url)
        self._connection.autocommit = True

    def _rows(self, statement: str) -> list[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def at(self, topic: str, partition: int, offset: int) -> At:
        return (topic.removeprefix(self._prefix), partition, offset)

    def fates(self) -> dict[Identity, Fate]:
        found = self.rows('SELECT source, id, outcome, result, reason, topic, partition, "offset" FROM inbox')
        return {(row[0], row[1]): Fate(row[2], row[3], row[4], self.at(*row[5:])) for row in found}


def observe(log: logs.Log, tables: Tables, *, prefix: str, schema_ids: dict[str, int]) -> Observation:
    """Look at everything; blocks until all topics are read."""
    outgoing = (*avro.EVENTS, DEAD_LETTERS, JOURNAL)
    visible, real = log.ends(outgoing), log.ends(outgoing, committed=False)
    journal = [json.loads(record.value or b"") for record in log.read([JOURNAL])]
    return Observation(
        prefix=prefix,
        commands={record.at: record for record in log.read(tuple(avro.COMMANDS))},
        events=log.read(tuple(avro.EVENTS)),
        dead_letters=log.read([DEAD_LETTERS]),
        journal=sorted(
            (
                Entry(row["number"], what, topic.removeprefix(prefix), *run)
                for row in journal
                for what, topic, *run in row["entries"]
            ),
            key=lambda entry: entry.number,
        ),
        journal_numbers=[row["number"] for row in journal],
        stored_journal=tables.rows("SELECT number, entries FROM journal ORDER BY number"),
        topic_ids=log.topic_ids(tuple(avro.COMMANDS)),
        schema_ids=schema_ids,
        fates=tables.fates(),
        lines={
            model.Line(*line): (batchref, place)
            for *line, batchref, place in tables.rows("SELECT orderid, sku, qty, batchref, place FROM order_lines")
        },
        batches={
            ref: BatchRow(*row)
            for ref, *row in tables.rows(
                "SELECT reference, sku, created_quantity, purchased, allocated, eta, line_count FROM batches"
            )
        },
        products={
            sku: (version, sequence)
            for sku, version, sequence in tables.rows("SELECT sku, version_number, event_sequence FROM products")
        },
        parked=[
            (queue, state, tables.at(*where))
            for queue, state, *where in tables.rows('SELECT queue, state, topic, partition, "offset" FROM parked')
        ],
        hidden={place: (visible[place], end) for place, end in real.items() if visible[place] != end},
        unsent=tables.rows("SELECT count(*) FROM outbox WHERE quarantined IS NULL")[0][0],
        quarantined=[
            (id_, sku) for id_, sku in tables.rows("SELECT id, sku FROM outbox WHERE quarantined IS NOT NULL")
        ],
    )
