"""Bind a database to another cluster, to which its topics were copied, in one transaction.

Whatever names a log by its topic's id follows: positions, what is parked, decisions on dead letters, the bridge. The
relay's checkpoint stays behind; so the outbox must be empty, and `init` writes the first one of the new cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import audit_rows, engine, headers, occupancy
from allocation.service_layer import messages
from allocation.service_layer.operations import audit, moving
from allocation.service_layer.operations.replay import ports

if TYPE_CHECKING:
    from collections.abc import Mapping

    import sqlalchemy

_LOCK = "LOCK TABLE positions, outbox, journal, instance, relay_shards, leases IN ACCESS EXCLUSIVE MODE"
_UNSENT = "SELECT count(*) FROM outbox"
_TABLES = ("positions", "parked", "dead_letter_decisions", "bridge_positions")
_NAMELESS = "SELECT id, headers, message_source, message_id FROM parked"


def check_movable(database: sqlalchemy.Engine) -> None:
    """Raise `CannotReplay` while somebody works with the database, or something is still to be sent."""
    with engine.cursor(database) as cursor:
        _check(cursor)


def rebind(database: sqlalchemy.Engine, *, cluster_id: str, topic_ids: Mapping[str, str], note: audit.Note) -> None:
    """Bind the database to a cluster; `topic_ids` are those of its topics by the old ones. Raises `CannotReplay`."""
    with engine.translated_errors(), database.connect() as connection:
        cursor: Any = connection.connection.cursor()
        cursor.execute(_LOCK)
        _check(cursor)
        for table in _TABLES:
            for old, new in topic_ids.items():
                cursor.execute(f"UPDATE {table} SET topic_id = %s WHERE topic_id = %s", (new, old))  # noqa: S608 - ours
        _name_parked(cursor)
        cursor.execute("UPDATE positions SET leader_epoch = 0")
        cursor.execute("UPDATE relay_shards SET checkpointed = false")
        cursor.execute("SELECT cluster_id FROM instance")
        (before,) = cursor.fetchone()
        cursor.execute("UPDATE instance SET cluster_id = %s", (cluster_id,))
        audit_rows.write(cursor, [audit.Entry("cluster.moved", f"from cluster {before} to {cluster_id}", note)])
        connection.connection.commit()


def _check(cursor: Any) -> None:
    occupancy.check_unused(cursor)
    cursor.execute(_UNSENT)
    (unsent,) = cursor.fetchone()
    if unsent:
        raise ports.CannotReplay(
            f"{unsent} messages in the outbox are not sent yet; let the relay send them to the old cluster first "
            "(`allocation outbox list` shows what Kafka refused)"
        )


def _name_parked(cursor: Any) -> None:
    """Give to what is parked the id that its copy in the log was given."""
    cursor.execute(_NAMELESS)
    for id_, text, source, own in cursor.fetchall():
        before = headers.load(text)
        after = moving.named(before, messages.MessageId(source, own))
        if after != before:
            cursor.execute("UPDATE parked SET headers = %s WHERE id = %s", (headers.dump(after), id_))
