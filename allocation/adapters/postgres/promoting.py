"""Put a rebuilt schema in the place of the live one, in one transaction, and keep the old one.

Tables and sequences change their schema; the schemas themselves stay, since others may own something in the live
one. What the logs do not hold is taken over: who this database is, the operator's audit and decisions, how far the
bridge is, how many passes the relay has counted. The incarnation is new: what was kept of rows of the old tables
(a relay's checkpoint, a worker's cache) is not taken for rows of the new ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from allocation.adapters.postgres import audit_rows, engine, occupancy, rebuilding, tables
from allocation.service_layer.operations import audit
from allocation.service_layer.operations.replay import ports

if TYPE_CHECKING:
    import sqlalchemy

    from allocation.service_layer.operations.replay import rebuilding_ports

# Of millions of rows the whole takes longer than other transactions may; nobody else works meanwhile.
_LONG = engine.lasting("1h")
# Nobody may begin to work on the old tables while the new ones take their place.
_LOCK = "LOCK TABLE positions, outbox, journal, instance, relay_shards, leases IN ACCESS EXCLUSIVE MODE"
_UNSENT = "SELECT count(*), count(quarantined) FROM outbox"
# Numbers commit out of order: the highest says nothing of those below it.
_LACKING = """
SELECT count(*) FROM journal AS live WHERE NOT EXISTS (SELECT FROM {new}.journal AS n WHERE n.number = live.number)
"""
_LIVE = "SELECT current_schema()"
_OLD = "SELECT 'allocation_' || to_char(clock_timestamp(), 'YYYYMMDD_HH24MISS_MS')"
_RELATIONS = """
SELECT c.relname, c.relkind = 'S' FROM pg_class AS c
WHERE c.relnamespace = %(new)s::regnamespace AND c.relkind IN ('r', 'p', 'S') AND NOT EXISTS (
    SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
)
"""
_COPIED = (
    tables.registered_schemas,
    tables.audit,
    tables.dead_letter_decisions,
    tables.bridge_positions,
)
# A rebuild may leave rows in these.
_REPLACED = (tables.instance, tables.relay_shards, tables.releases)
# The live database may have passed over the ends of transactions, which no row of the journal tells.
_POSITIONS = """
INSERT INTO {new}.positions AS p SELECT * FROM positions
ON CONFLICT (topic_id, partition) DO UPDATE SET next_offset = excluded.next_offset
WHERE excluded.next_offset > p.next_offset
"""
# Whether a parked command is poisoned, and until when one waits, the journal does not tell.
_PARKED = """
UPDATE {new}.parked AS p SET state = l.state, reason = l.reason, error = l.error, error_class = l.error_class,
    stack = l.stack, expires_at = l.expires_at, parked_at = l.parked_at
FROM parked AS l WHERE (l.topic_id, l.partition, l."offset") = (p.topic_id, p.partition, p."offset")
"""
# Nor what was told of those that failed, which their senders may ask for.
_REASONS = """
UPDATE {new}.inbox AS n SET reason = l.reason, error = l.error
FROM inbox AS l
WHERE (l.id, l.source, l.attempt, l.outcome) = (n.id, n.source, n.attempt, n.outcome)
    AND (n.outcome = 'waiting' OR n.reason = 'failed')
"""
_INCARNATION = "UPDATE {new}.instance SET earlier = earlier || incarnation, incarnation = gen_random_uuid()"
_STEPS = 4  # none of them can say how far it is: each is a few statements
_SEQUENCES = ("audit", "outbox", "parked")
_GO_ON = """
SELECT setval(pg_get_serial_sequence('{new}.{table}', 'id'), greatest(
    (SELECT last_value FROM {sequence}), (SELECT coalesce(max(id), 1) FROM {new}.{table})
))
"""
_NUMBER_ON = """
SELECT setval('{new}.journal_number', greatest(
    (SELECT last_value FROM journal_number), (SELECT last_value FROM {new}.journal_number)
))
"""


class Promoted(NamedTuple):
    """Where the old tables are now."""

    live: str
    old: str


def check_at_rest(database: sqlalchemy.Engine) -> None:
    """Raise `CannotReplay` while nothing could be swapped in, whatever schema: the live one is in use, or not empty."""
    with engine.cursor(database) as cursor:
        _check_at_rest(cursor)


def check_is_exact(new: str, *, is_exact: bool) -> None:
    """Raise `CannotReplay` for a schema that was filled, or would be, without the journal."""
    if not is_exact:
        raise ports.CannotReplay(
            f"{new} goes by the order of timestamps: what was announced may be something else than what is in it"
        )


def promote(
    database: sqlalchemy.Engine,
    new: str,
    note: audit.Note,
    *,
    dry_run: bool,
    on_progress: rebuilding_ports.Progress,
) -> Promoted:
    """Swap the schema in; raises `CannotReplay` while something stands against it, and changes nothing then."""
    mark = rebuilding.mark_of(database, new)
    if mark is None:
        raise rebuilding.BadSchema(f"there is no schema {new}; `allocation replay rebuild --into {new}` makes it")
    check_is_exact(new, is_exact=mark.is_exact)
    with engine.translated_errors(), database.connect() as connection:
        cursor: Any = connection.connection.cursor()
        on_progress("waiting for all others", 0, _STEPS)
        cursor.execute(_LONG)
        cursor.execute(_LOCK)
        on_progress("checking", 1, _STEPS)
        _check_at_rest(cursor)
        _check_is_whole(cursor, new)
        promoted = Promoted(_one(cursor, _LIVE), _one(cursor, _OLD))
        if not dry_run:
            on_progress("taking over", 2, _STEPS)
            _take_over(cursor, new)
            on_progress("swapping", 3, _STEPS)
            _swap(cursor, new, promoted)
            subject = f"{new}; the old tables are in {promoted.old}"
            audit_rows.write(cursor, [audit.Entry("replay.promoted", subject, note)])
            connection.connection.commit()
            on_progress("swapping", _STEPS, _STEPS)
    return promoted


def _check_at_rest(cursor: Any) -> None:
    occupancy.check_unused(cursor)
    cursor.execute(_UNSENT)
    unsent, quarantined = cursor.fetchone()
    if unsent:
        raise ports.CannotReplay(
            f"{unsent} messages in the outbox are not sent yet, {quarantined} of them quarantined; let the relay send "
            "them (`allocation outbox list` shows what Kafka refused)"
        )


def _check_is_whole(cursor: Any, new: str) -> None:
    cursor.execute(_LACKING.format(new=new))
    (lacking,) = cursor.fetchone()
    if lacking:
        raise ports.CannotReplay(
            f"the live database has done what {new} has not ({lacking} rows of its journal); let it catch up with "
            f"`allocation replay rebuild --into {new}`"
        )


def _take_over(cursor: Any, new: str) -> None:
    for table in _REPLACED:
        cursor.execute(f"DELETE FROM {new}.{table.name}")  # noqa: S608 - a name that was checked
    for table in (*_REPLACED, *_COPIED):
        names = ", ".join(f'"{column.name}"' for column in table.columns)
        cursor.execute(f"INSERT INTO {new}.{table.name} ({names}) SELECT {names} FROM {table.name}")  # noqa: S608 - ours
    cursor.execute(_POSITIONS.format(new=new))
    cursor.execute(_PARKED.format(new=new))
    cursor.execute(_REASONS.format(new=new))
    cursor.execute(_INCARNATION.format(new=new))
    for name in _SEQUENCES:
        sequence = _one(cursor, "SELECT pg_get_serial_sequence(%s, 'id')", name)
        cursor.execute(_GO_ON.format(new=new, table=name, sequence=sequence))
    cursor.execute(_NUMBER_ON.format(new=new))


def _swap(cursor: Any, new: str, promoted: Promoted) -> None:
    cursor.execute(_RELATIONS, {"new": new})
    relations = [("SEQUENCE" if is_sequence else "TABLE", name) for name, is_sequence in cursor.fetchall()]
    cursor.execute(f"CREATE SCHEMA {promoted.old}")
    for kind, name in relations:
        cursor.execute(f"ALTER {kind} IF EXISTS {promoted.live}.{name} SET SCHEMA {promoted.old}")
        cursor.execute(f"ALTER {kind} {new}.{name} SET SCHEMA {promoted.live}")
    cursor.execute(f"DROP SCHEMA {new}")


def _one(cursor: Any, query: str, *values: object) -> str:
    cursor.execute(query, values or None)
    (found,) = cursor.fetchone()
    return str(found)
