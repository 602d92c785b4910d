"""Message processing over a database of either kind, and all that is in it afterwards, to be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from allocation.adapters.postgres import headers, inbox, parked_rows, positions, reads, tables
from allocation.adapters.postgres import unit_of_work as postgres
from allocation.domain import model
from allocation.service_layer import envelopes, messages, processing, reading, topics, unit_of_work
from tests.fakes import serde
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy

NAMES = topics.TopicNames()
GRACE_S = 60.0


class StoredBatch(NamedTuple):
    sku: str
    created: int
    purchased: int
    allocated: int
    eta: object
    lines: tuple[model.OrderLine, ...]


class Published(NamedTuple):
    """A message in the outbox, without the time."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: messages.Headers
    sku: str | None


@dataclass
class Contents:
    """What a database holds."""

    products: dict[str, tuple[int, int]]
    batches: dict[str, StoredBatch]
    inbox: dict[messages.MessageId, unit_of_work.InboxEntry]
    parked: list[tuple[str, str, messages.Message, str]]
    positions: dict[messages.LogPartition, unit_of_work.Position]
    outbox: list[Published]


class Installation(Protocol):
    """A database of either kind."""

    def begin(self) -> unit_of_work.MessageUnitOfWork: ...

    def contents(self) -> Contents: ...


class FakeInstallation:
    def __init__(self) -> None:
        self.database = fakes.FakeDatabase()
        self.begin = self.database.begin

    def contents(self) -> Contents:
        state = self.database.state
        return Contents(
            products={sku: (one.version_number, state.sequences.get(sku, 0)) for sku, one in state.products.items()},
            batches={
                one.reference: StoredBatch(
                    one.sku, one.created_quantity, one.purchased_quantity, one.allocated_quantity, one.eta, one.lines
                )
                for product in state.products.values()
                for one in product.batches
            },
            inbox=dict(state.inbox),
            parked=[_parked(one) for one in state.parked],
            positions=dict(state.positions),
            outbox=[_published(one) for one in state.outbox if one.topic != NAMES.journal],
        )


class PostgresInstallation:
    def __init__(self, database: sqlalchemy.Engine) -> None:
        self._database = database

    def begin(self) -> unit_of_work.MessageUnitOfWork:
        return postgres.PostgresUnitOfWork(self._database, journal_topic=NAMES.journal)

    def contents(self) -> Contents:
        with self._database.connect() as connection:
            return Contents(
                products={
                    row.sku: (row.version_number, row.event_sequence) for row in _all(connection, tables.products)
                },
                batches=_batches(connection),
                inbox=_inbox(connection),
                parked=_all_parked(connection),
                positions=dict(positions.read_all(_cursor(connection))),
                outbox=_outbox(connection),
            )

    def empty(self) -> None:
        with self._database.begin() as connection:
            for table in (*_EMPTIED, tables.journal):
                connection.execute(table.delete())


_EMPTIED = (
    tables.products, tables.batches, tables.order_lines, tables.inbox, tables.parked, tables.positions, tables.outbox,
    tables.locks, tables.releases,
)  # fmt: skip


def a_processor(
    begin: Callable[[], unit_of_work.MessageUnitOfWork],
    *,
    grace_s: float = GRACE_S,
    values: serde.FakeSerde | None = None,
    kind: type[processing.Processor] = processing.Processor,
) -> processing.Processor:
    values = values or serde.FakeSerde()
    return kind(
        begin=begin,
        reader=reading.MessageReader(topics=NAMES, deserializer=values),
        envelopes=envelopes.Envelopes(topics=NAMES, serializer=values),
        grace_s=grace_s,
    )


def _all(connection: sqlalchemy.Connection, table: sqlalchemy.Table, *order: sqlalchemy.ColumnElement[Any]) -> Any:
    return connection.execute(table.select().order_by(*order))


def _batches(connection: sqlalchemy.Connection) -> dict[str, StoredBatch]:
    lines: dict[str, list[model.OrderLine]] = {}
    for row in _all(connection, tables.order_lines, tables.order_lines.c.place):
        known = lines.setdefault(row.batchref, [])
        assert row.place == len(known), f"{row} leaves a gap"
        known.append(model.OrderLine(row.orderid, row.sku, row.qty))
    found = {}
    for row in _all(connection, tables.batches):
        own = tuple(lines.pop(row.reference, ()))
        assert row.line_count == len(own), row
        assert row.allocated == sum(line.qty for line in own), row
        found[row.reference] = StoredBatch(row.sku, row.created_quantity, row.purchased, row.allocated, row.eta, own)
    assert not lines, f"lines of no batch: {lines}"
    return found


def _inbox(connection: sqlalchemy.Connection) -> dict[messages.MessageId, unit_of_work.InboxEntry]:
    ids = [messages.MessageId(row.source, row.id) for row in _all(connection, tables.inbox)]
    loaded = inbox.Inbox()
    loaded.read(asked := reads.Reads(_cursor(connection)), ids)
    asked.send()
    return {id_: entry for id_ in ids if (entry := loaded.get(id_))}


def _all_parked(connection: sqlalchemy.Connection) -> list[tuple[str, str, messages.Message, str]]:
    cursor = _cursor(connection)
    cursor.execute(f"SELECT {parked_rows.FIELDS} FROM parked ORDER BY id")
    return [_parked(parked_rows.load(row)) for row in cursor]


def _outbox(connection: sqlalchemy.Connection) -> list[Published]:
    rows = _all(connection, tables.outbox, tables.outbox.c.id)
    return [
        _published(
            messages.OutboxMessage(
                row.topic, _bytes(row.key), _bytes(row.value), headers.load(row.headers), row.sku, row.partition
            )
        )
        for row in rows
        if row.topic != NAMES.journal
    ]


def _cursor(connection: sqlalchemy.Connection) -> Any:
    return connection.connection.cursor()


def _bytes(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def _parked(one: unit_of_work.ParkedCommand) -> tuple[str, str, messages.Message, str]:
    return (one.queue, one.state, one.message, one.error)


def _published(one: messages.OutboxMessage) -> Published:
    timeless = tuple(header for header in one.headers if header[0] not in (messages.CE_TIME, "dead_letter_time"))
    return Published(one.topic, one.key, one.value, timeless, one.sku)
