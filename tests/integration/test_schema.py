from __future__ import annotations

import contextlib
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING

import alembic.autogenerate
import alembic.command
import alembic.config
import alembic.runtime.migration
import alembic.script
import pytest
import sqlalchemy

from allocation.adapters.postgres import engine, schema, tables
from allocation.service_layer import ports
from tests import databases, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack


@pytest.fixture
def database(endpoints: devstack.Endpoints) -> Iterator[sqlalchemy.Engine]:
    with databases.fresh(endpoints) as database:
        yield database


def test_migrations_build_the_tables_that_are_declared(database: sqlalchemy.Engine) -> None:
    schema.migrate(database)
    with database.connect() as connection:
        context = alembic.runtime.migration.MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert alembic.autogenerate.compare_metadata(context, tables.metadata) == []


# What Alembic does not compare: constraints, index predicates, storage, sequences, collations, identities.
_DETAILS = {
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    """,
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "storage": """
        SELECT relname, reloptions::text, relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
    """,
    "sequences": "SELECT sequencename, data_type::text, cache_size, start_value, increment_by, cycle FROM pg_sequences",
    "columns": """
        SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default, identity_generation,
            character_maximum_length
        FROM information_schema.columns WHERE table_schema = 'public'
    """,
}


def _details(database: sqlalchemy.Engine) -> dict[str, set[tuple[object, ...]]]:
    with database.connect() as connection:
        return {
            name: {tuple(row) for row in connection.execute(sqlalchemy.text(query)) if "alembic_version" not in row[0]}
            for name, query in _DETAILS.items()
        }


def test_migrations_build_the_same_as_the_declaration_in_every_detail(
    database: sqlalchemy.Engine, endpoints: devstack.Endpoints
) -> None:
    schema.migrate(database)
    with databases.fresh(endpoints) as declared:
        tables.metadata.create_all(declared)
        expected = _details(declared)
    for name, found in _details(database).items():
        assert found - {row for row in found if row[0] == "alembic_version_pkc"} == expected[name], name


def test_migrating_again_changes_nothing(database: sqlalchemy.Engine) -> None:
    schema.migrate(database)
    before = _details(database)
    schema.migrate(database)
    assert _details(database) == before


def migrate_patiently(database: sqlalchemy.Engine) -> None:
    """Migrate, again and again where others are at it for longer than one waits for a lock, as `init` does."""
    while True:
        with contextlib.suppress(ports.LockedOut):
            schema.migrate(database)
            return


def test_several_may_migrate_at_once(database: sqlalchemy.Engine) -> None:
    with futures.ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(migrate_patiently, database) for _ in range(3)]:
            done.result(60)
    assert schema.remembered_schemas(database) == {}


def test_migrations_can_be_undone(database: sqlalchemy.Engine) -> None:
    schema.migrate(database)
    with database.begin() as connection:
        alembic.command.downgrade(schema.configuration(connection), "base")
    assert {row[0] for row in _details(database)["columns"]} == set()
    schema.migrate(database)


_NEXT = """
from alembic import op

revision = "next"
down_revision = "{head}"


def upgrade() -> None:
    for statement in {statements}:
        op.execute(statement)
"""


class NextVersion:
    """Has a migration of these statements beside those that there are."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._versions = directory
        ours = schema.configuration

        def with_one_more(connection: sqlalchemy.Connection) -> alembic.config.Config:
            config = ours(connection)
            its_own = Path(str(config.get_main_option("script_location"))) / "versions"
            config.set_main_option("path_separator", "newline")
            config.set_main_option("version_locations", f"{its_own}\n{directory}")
            return config

        monkeypatch.setattr(schema, "configuration", with_one_more)

    def does(self, database: sqlalchemy.Engine, *statements: str) -> None:
        with database.connect() as connection:
            scripts = alembic.script.ScriptDirectory.from_config(schema.configuration(connection))
        text = _NEXT.format(head=scripts.get_current_head(), statements=statements)
        (self._versions / "next.py").write_text(text)


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NextVersion:
    return NextVersion(tmp_path, monkeypatch)


def is_awaited(database: sqlalchemy.Engine, table: str) -> bool:
    query = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    with database.connect() as connection:
        return bool(connection.exec_driver_sql(query, (table,)).scalar_one())


_TO_PRODUCTS_AND_JOURNAL = (
    "ALTER TABLE products ADD COLUMN remark text",
    "ALTER TABLE journal ADD COLUMN remark text",
)


def test_a_migration_awaits_the_units_of_work_that_have_begun(
    database: sqlalchemy.Engine, next_version: NextVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "_MODESTLY", "SET LOCAL lock_timeout = '60s'")  # whatever holds this test up meanwhile
    schema.migrate(database)
    next_version.does(database, *_TO_PRODUCTS_AND_JOURNAL)
    with futures.ThreadPoolExecutor(1) as pool, database.connect() as at_work:
        at_work.exec_driver_sql("SELECT FROM positions")
        migrated = pool.submit(schema.migrate, database)
        waiting.wait_until(lambda: is_awaited(database, "positions"))
        for table in ("journal", "products", "locks"):
            at_work.exec_driver_sql(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE NOWAIT")
        at_work.commit()
        assert migrated.result(30) is True


def test_a_migration_gives_up_before_it_and_another_await_each_other(
    database: sqlalchemy.Engine, next_version: NextVersion
) -> None:
    schema.migrate(database)
    next_version.does(database, *_TO_PRODUCTS_AND_JOURNAL)
    with futures.ThreadPoolExecutor(1) as pool, database.connect() as in_the_way:
        in_the_way.exec_driver_sql("SELECT FROM journal")
        migrated = pool.submit(schema.migrate, database)
        waiting.wait_until(lambda: is_awaited(database, "journal") or migrated.done())  # it does not wait for long
        in_the_way.exec_driver_sql("SELECT FROM products")  # that the migration has
        with pytest.raises(ports.LockedOut):
            migrated.result(30)
        in_the_way.commit()
    assert schema.migrate(database) is True


def test_a_migration_may_take_longer_than_what_is_usual(database: sqlalchemy.Engine, next_version: NextVersion) -> None:
    schema.migrate(database)
    next_version.does(database, "SELECT pg_sleep(1.2)", "ALTER TABLE products ADD COLUMN remark text")
    options = {"options": "-c transaction_timeout=1s"}
    hasty = sqlalchemy.create_engine(database.url, connect_args=options, poolclass=sqlalchemy.NullPool)
    with hasty.connect() as connection, pytest.raises(sqlalchemy.exc.DBAPIError):
        connection.exec_driver_sql("SELECT pg_sleep(1.2)")
    assert schema.migrate(hasty) is True


def test_a_database_without_tables_says_what_to_do(database: sqlalchemy.Engine) -> None:
    with pytest.raises(schema.NotInitialised, match="run `allocation init`"):
        schema.check_binding(database, cluster_id="cluster", topic_prefix="")


def test_a_database_that_is_bound_to_nothing_says_what_to_do(database: sqlalchemy.Engine) -> None:
    schema.migrate(database)
    with pytest.raises(schema.NotInitialised, match="bound to no Kafka cluster yet; run `allocation init`"):
        schema.check_binding(database, cluster_id="cluster", topic_prefix="")


def test_a_database_stays_with_its_cluster_and_its_topics(database: sqlalchemy.Engine) -> None:
    schema.migrate(database)
    schema.bind(database, cluster_id="cluster", topic_prefix="here.")
    schema.bind(database, cluster_id="cluster", topic_prefix="here.")
    schema.check_binding(database, cluster_id="cluster", topic_prefix="here.")
    for cluster_id, prefix in (("other", "here."), ("cluster", "there.")):
        with pytest.raises(schema.NotInitialised, match=r"belongs to Kafka cluster cluster and topic prefix 'here\.'"):
            schema.bind(database, cluster_id=cluster_id, topic_prefix=prefix)


def test_each_database_has_an_identity_of_its_own(database: sqlalchemy.Engine, endpoints: devstack.Endpoints) -> None:
    with databases.fresh(endpoints) as other:
        for one in (database, other):
            schema.migrate(one)
            schema.bind(one, cluster_id="cluster", topic_prefix="")
        assert schema.database_id(database) == schema.database_id(database) != schema.database_id(other)


def test_every_version_of_a_schema_is_remembered(database: sqlalchemy.Engine) -> None:
    schema.migrate(database)
    schema.remember_schemas(database, {"a-value": (1, "{}"), "b-value": (2, "{}")})
    schema.remember_schemas(database, {"a-value": (3, "[]")})
    assert schema.remembered_schemas(database) == {"a-value": {"{}": 1, "[]": 3}, "b-value": {"{}": 2}}


def test_a_schema_has_the_id_that_it_was_given_last(database: sqlalchemy.Engine) -> None:
    schema.migrate(database)
    schema.remember_schemas(database, {"a-value": (1, "{}")})
    schema.remember_schemas(database, {"a-value": (4, "{}")})
    schema.remember_schemas(database, {"a-value": (4, "{}")})
    assert schema.remembered_schemas(database) == {"a-value": {"{}": 4}}


def test_a_server_that_is_down_is_no_missing_table() -> None:
    nowhere = engine.create("postgresql+psycopg2://nobody@127.0.0.1:1/nothing")
    with pytest.raises(ports.DependencyDown, match="the database does not answer"):
        schema.check_binding(nowhere, cluster_id="cluster", topic_prefix="")


def test_a_session_commits_durably_whatever_the_database_says(database: sqlalchemy.Engine) -> None:
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {database.url.database} SET synchronous_commit = off")
    database.dispose()
    with database.connect() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"


def test_an_identity_is_known_once_across_midnight(database: sqlalchemy.Engine) -> None:
    schema.migrate(database)
    insert = (
        'INSERT INTO inbox (id, source, attempt, digest, outcome, topic, partition, "offset", handled_at) '
        "VALUES ('one', 'sender', 1, '', 'handled', 'allocate', 0, %s, %s)"
    )
    with database.begin() as connection:
        connection.exec_driver_sql(insert, (0, "2030-01-31T23:59:59Z"))
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="inbox_pkey"), database.begin() as connection:
        connection.exec_driver_sql(insert, (1, "2030-02-01T00:00:01Z"))
