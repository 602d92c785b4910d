"""The database side of a rebuild: the worker's unit of work with a journal that is given, in a schema of its own.

The schema is made by the migrations, and its comment says how it was filled: only a schema with such a comment is
ever gone on with, compared or swapped in.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy

from allocation.adapters.postgres import copying, engine, parked_room, parked_rows, tables, unit_of_work
from allocation.adapters.postgres import schema as schemas
from allocation.service_layer import unit_of_work as uows
from allocation.service_layer.operations import parked as operation
from allocation.service_layer.operations.replay import journal_order
from allocation.service_layer.operations.replay import ports as replay
from allocation.service_layer.operations.replay import rebuilding_ports as ports

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from allocation.service_layer import messages

_NAME = re.compile(r"(?!pg_)(?!public$)[a-z_][a-z0-9_]{0,62}")
_JOURNAL_COLUMNS = ("number", "handled_at", "version", "entries")
_COMMENT = "SELECT obj_description(to_regnamespace(:name), 'pg_namespace'), to_regnamespace(:name) IS NOT NULL"
_PARKED_AT = f"""
SELECT {parked_rows.FIELDS} FROM parked JOIN unnest(%s::text[], %s::int[], %s::bigint[])
    AS wanted (topic, partition, "offset") USING (topic, partition, "offset")
"""  # noqa: S608 - constants
_PREFIX = "allocation rebuild: "


class BadSchema(replay.CannotReplay):
    """A schema that cannot be filled, compared or swapped in; says what helps."""


class Mark(NamedTuple):
    """What a schema's comment says: whether the journal decided the order, and the time (ISO) up to which it goes."""

    is_exact: bool
    until: str | None


def check_name(name: str) -> None:
    """Raise `BadSchema` for a name that would have to be quoted, and for schemas that are not ours."""
    if not _NAME.fullmatch(name):
        raise BadSchema(f"schema {name!r}: use lower case letters, digits and _, and neither public nor pg_…")


def mark_of(database: sqlalchemy.Engine, name: str) -> Mark | None:
    """Return how a schema was filled, None if there is none; raises `BadSchema` when no rebuild made it."""
    check_name(name)
    with engine.translated_errors(), database.connect() as connection:
        comment, exists = connection.execute(sqlalchemy.text(_COMMENT), {"name": name}).one()
    if not exists:
        return None
    if not (comment or "").startswith(_PREFIX):
        raise BadSchema(f"schema {name} was not made by a rebuild; name another, or drop it")
    return Mark(*json.loads(comment.removeprefix(_PREFIX)))


def prepare(database: sqlalchemy.Engine, name: str, mark: Mark) -> None:
    """Make a schema with empty tables, or mark the one that is there anew; `database` works in that schema."""
    text = json.dumps(mark).replace("'", "''")
    with engine.translated_errors(), database.begin() as connection:
        connection.execute(sqlalchemy.text(f"CREATE SCHEMA IF NOT EXISTS {name}"))
        connection.exec_driver_sql(f"COMMENT ON SCHEMA {name} IS '{_PREFIX}{text}'")
    schemas.migrate(database)


def drop(database: sqlalchemy.Engine, name: str) -> None:
    """Drop a schema that a rebuild made; raises `BadSchema` for any other."""
    if mark_of(database, name) is not None:
        with engine.translated_errors(), database.begin() as connection:
            connection.execute(sqlalchemy.text(f"DROP SCHEMA {name} CASCADE"))


class PostgresRebuildUnitOfWork(unit_of_work.PostgresUnitOfWork):
    """See `rebuilding_ports.RebuildUnitOfWork`."""

    def __init__(self, database: sqlalchemy.Engine, *, journal_topic: str, outbound: ports.Outbound) -> None:
        super().__init__(database, journal_topic=journal_topic)
        self._outbound = outbound
        self._waiting: dict[ports.Place, uows.ParkedCommand] = {}
        self._ended: list[int] = []

    def seek(self, places: Collection[ports.Place]) -> None:
        """Load the parked commands that were read there."""
        if places:
            columns = [list(column) for column in zip(*places, strict=True)]
            with engine.translated_errors():
                found = parked_rows.read(self._cursor, _PARKED_AT, columns)
            self._waiting.update((_place(one), one) for one in found)

    def waiting_at(self, place: ports.Place) -> uows.ParkedCommand | None:
        """Return the parked command that was read there."""
        return self._waiting.get(place)

    def park(self, parked: uows.ParkedCommand) -> None:
        """Add a command at the end of its queue, at commit."""
        super().park(parked)
        self._waiting[_place(parked)] = parked

    def unpark(self, parked: uows.ParkedCommand) -> None:
        """Take a command out of its queue, at commit."""
        del self._waiting[_place(parked)]
        if parked.id is None:
            super().unpark(parked)
        else:  # it may stand far behind what is loaded of its queue
            self._ended.append(parked.id)

    def keep_journal(self, rows: Sequence[journal_order.Row]) -> None:
        """Write these rows as they are."""
        values = [
            (row.number, row.handled_at.isoformat(), row.version, json.dumps([list(entry) for entry in row.entries]))
            for row in rows
        ]
        with engine.translated_errors():
            copying.copy_in(self._cursor, "journal", _JOURNAL_COLUMNS, values)

    def commit(self) -> None:
        """Write all differences, and as much of what was sent as goes out, and commit."""
        outgoing = self._outbox
        self._outbox = list(self._outbound.before_commit(outgoing))
        with engine.translated_errors():
            self._cursor.execute("DELETE FROM parked WHERE id = ANY(%s::bigint[])", (self._ended,))
        super().commit()
        self._outbound.after_commit(outgoing)


class PostgresTarget:
    """See `rebuilding_ports.Target`."""

    def __init__(self, database: sqlalchemy.Engine, *, journal_topic: str) -> None:
        self._database = database
        self._journal_topic = journal_topic

    def begin(self, outbound: ports.Outbound) -> PostgresRebuildUnitOfWork:
        """Return a new unit of work."""
        return PostgresRebuildUnitOfWork(self._database, journal_topic=self._journal_topic, outbound=outbound)

    def known(self) -> journal_order.Known:
        """Return which rows of the journal it has."""
        return known(self._database)

    def parked(self) -> Iterable[messages.Message]:
        """Return the messages that are parked in it."""
        room = parked_room.PostgresParkedRoom(self._database)
        return [one.parked.message for one in room.find(operation.Filter(), limit=None)]

    def positions(self) -> Mapping[tuple[str, int], int]:
        """Return the next offset of each log, by the topic's name."""
        table = tables.positions
        columns = sqlalchemy.select(table.c.topic, table.c.partition, table.c.next_offset)
        with engine.translated_errors(), self._database.connect() as connection:
            return {(row.topic, row.partition): row.next_offset for row in connection.execute(columns)}

    def finish(self) -> None:
        """Let new rows be numbered after those that were given."""
        with engine.translated_errors(), self._database.begin() as connection:
            connection.execute(sqlalchemy.text(NUMBER_ON))


NUMBER_ON = """
SELECT setval('journal_number', greatest(
    (SELECT max(number) FROM journal), (SELECT last_value FROM journal_number WHERE is_called)
)) WHERE EXISTS (SELECT FROM journal)
"""


PRUNED_BEFORE = sqlalchemy.select(tables.prunings.c.before).where(tables.prunings.c.name == "journal")


def known(database: sqlalchemy.Engine) -> journal_order.Known:
    """Return which rows of the journal a database has."""
    with engine.translated_errors(), database.connect() as connection:
        numbers = frozenset(connection.scalars(sqlalchemy.select(tables.journal.c.number)))
        return journal_order.Known(numbers, connection.scalar(PRUNED_BEFORE))


def rows(database: sqlalchemy.Engine, *, besides: Collection[int]) -> Mapping[int, journal_order.Row]:
    """Return the rows of a database's journal with other numbers: its relay has not sent them yet."""
    table = tables.journal
    columns = sqlalchemy.select(table.c.number, table.c.handled_at, table.c.version, table.c.entries)
    with engine.translated_errors(), database.connect() as connection:
        numbers = set(connection.scalars(sqlalchemy.select(table.c.number))).difference(besides)
        found = connection.execute(columns.where(table.c.number.in_(numbers))).all() if numbers else []
    return {
        number: journal_order.Row(number, at, version, tuple(uows.JournalEntry(*entry) for entry in entries))
        for number, at, version, entries in found
    }


def _place(parked: uows.ParkedCommand) -> ports.Place:
    record = parked.message.record
    return ports.Place(record.topic, record.partition, record.offset)
