"""Bring the database to the tables of today, and bind it to what it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import alembic.command
import alembic.config
import alembic.runtime.migration
import alembic.script
import sqlalchemy
from sqlalchemy.dialects import postgresql

from allocation.adapters.postgres import engine, tables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allocation.service_layer import messages

NotInitialised = engine.NotInitialised

_MIGRATION_LOCK = 0x616C6C6F63  # "alloc": two `init` at once take turns
# A migration that cannot have a table gives up before the server looks for deadlocks (usually after 1 s), so that
# nobody at work is ended, or waits behind it for longer. What it does once it has the tables may take its time.
_MODESTLY = "SET LOCAL lock_timeout = '500ms'"
_LONG = engine.lasting("1h")
# Each unit of work begins with one of these. Who is in one may end it; whoever comes later waits here, and holds
# nothing yet that the migration needs.
_NOBODY_AT_WORK = "LOCK TABLE positions, locks IN ACCESS EXCLUSIVE MODE"


def migrate(database: sqlalchemy.Engine) -> bool:
    """Run the migrations that are missing; may be repeated, also by several at once.

    Returns False for a database that a newer version has migrated: it stays as it is, since a version only adds what
    the one before does not know, and takes away what that no longer uses. So the one before works with it.
    Raises `LockedOut`, with nothing changed, when others are at work on the tables for too long.
    """
    with engine.translated_errors(), database.begin() as connection:
        connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        config = configuration(connection)
        found = alembic.runtime.migration.MigrationContext.configure(connection).get_current_revision()
        scripts = alembic.script.ScriptDirectory.from_config(config)
        if found is not None and found not in {one.revision for one in scripts.walk_revisions()}:
            return False
        if found != scripts.get_current_head():
            connection.exec_driver_sql(f"{_LONG}; {_MODESTLY}")
            if found is not None:
                connection.exec_driver_sql(_NOBODY_AT_WORK)
            alembic.command.upgrade(config, "head")
    return True


def configuration(connection: sqlalchemy.Connection) -> alembic.config.Config:
    """Return Alembic's settings for this connection."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def bind(database: sqlalchemy.Engine, *, cluster_id: str, topic_prefix: str) -> None:
    """Bind a fresh database to its Kafka cluster and topics; raises `NotInitialised` when it belongs to others."""
    values = {"cluster_id": cluster_id, "topic_prefix": topic_prefix}
    with engine.translated_errors(), database.begin() as connection:
        connection.execute(postgresql.insert(tables.instance).values(values).on_conflict_do_nothing())
    check_binding(database, cluster_id=cluster_id, topic_prefix=topic_prefix)


def check_binding(database: sqlalchemy.Engine, *, cluster_id: str, topic_prefix: str) -> None:
    """Raise `NotInitialised` unless this database holds the state of these topics."""
    bound = _binding(database)
    if bound != (cluster_id, topic_prefix):
        raise NotInitialised(
            f"the database belongs to Kafka cluster {bound[0]} and topic prefix {bound[1]!r}, "
            f"not to cluster {cluster_id} and prefix {topic_prefix!r}; correct ALLOCATION_DATABASE_URL, "
            "ALLOCATION_KAFKA_BOOTSTRAP_SERVERS or ALLOCATION_TOPIC_PREFIX"
        )


def database_id(database: sqlalchemy.Engine) -> str:
    """Return the name that tells this database from all others; `check_binding` must have passed before."""
    with engine.translated_errors(), database.connect() as connection:
        return str(connection.execute(sqlalchemy.select(tables.instance.c.database_id)).scalar_one())


def _binding(database: sqlalchemy.Engine) -> tuple[str, str]:
    columns = sqlalchemy.select(tables.instance.c.cluster_id, tables.instance.c.topic_prefix)
    with engine.translated_errors(), database.connect() as connection:
        row = connection.execute(columns).one_or_none()
    if row is None:
        raise NotInitialised("the database is bound to no Kafka cluster yet; run `allocation init`")
    return (row.cluster_id, row.topic_prefix)


def begin_positions(database: sqlalchemy.Engine, begins: Mapping[str, Mapping[messages.LogPartition, int]]) -> None:
    """Note at which offset each log begins, by topic, unless the topic is known: what is added later is then seen."""
    positions = tables.positions
    known = sqlalchemy.select(positions.c.topic).distinct()
    with engine.translated_errors(), database.begin() as connection:
        known_topics = set(connection.scalars(known))
        rows = [
            {"topic_id": log.topic_id, "partition": log.partition, "topic": topic, "next_offset": begin}
            for topic, logs in begins.items()
            if topic not in known_topics
            for log, begin in logs.items()
        ]
        if rows:
            nothing = {"leader_epoch": 0, "last_offset": -1, "last_digest": b""}
            insert = postgresql.insert(positions).on_conflict_do_nothing()
            connection.execute(insert, [row | nothing for row in rows])


def remember_schemas(database: sqlalchemy.Engine, registered: Mapping[str, tuple[int, str]]) -> None:
    """Keep the ids (and texts) that the registry gave, by subject, beside those of other versions."""
    table = tables.registered_schemas
    rows = [{"subject": subject, "schema_id": id_, "definition": text} for subject, (id_, text) in registered.items()]
    insert = postgresql.insert(table)
    key = ["subject", "schema_id"]
    with engine.translated_errors(), database.begin() as connection:
        for row in rows:  # a registry that was made anew may have given the same schema another id
            same = (table.c.subject == row["subject"]) & (table.c.definition == row["definition"])
            connection.execute(table.delete().where(same))
        keep = insert.on_conflict_do_update(index_elements=key, set_={"definition": insert.excluded.definition})
        connection.execute(keep, rows)


def remembered_schemas(database: sqlalchemy.Engine) -> dict[str, dict[str, int]]:
    """Return the kept ids by subject and text."""
    found: dict[str, dict[str, int]] = {}
    with engine.translated_errors(), database.connect() as connection:
        for row in connection.execute(sqlalchemy.select(tables.registered_schemas)):
            found.setdefault(row.subject, {})[row.definition] = row.schema_id
    return found
