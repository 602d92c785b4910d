"""Databases of their own for tests, and settings of installations in them."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import sqlalchemy

from allocation import config
from allocation.adapters.postgres import engine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack


@contextlib.contextmanager
def fresh(endpoints: devstack.Endpoints) -> Iterator[sqlalchemy.Engine]:
    """Lend an empty database, which is dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    # No pool: a test may restart the server meanwhile.
    admin = sqlalchemy.create_engine(
        endpoints.database_url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool
    )
    with admin.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    url = sqlalchemy.make_url(endpoints.database_url).set(database=name)
    database = engine.create(url.render_as_string(hide_password=False))
    try:
        yield database
    finally:
        database.dispose()
        with admin.connect() as connection:
            connection.execute(sqlalchemy.text(f"DROP DATABASE {name} WITH (FORCE)"))


def settings_in(database: sqlalchemy.Engine, endpoints: devstack.Endpoints, **more: Any) -> config.Settings:
    """Return settings of an installation in this database; topics and group are called after it, unless given."""
    name = str(database.url.database)
    return config.load(
        **{
            "kafka_bootstrap_servers": endpoints.kafka_bootstrap_servers,
            "database_url": database.url.render_as_string(hide_password=False),
            "redis_url": endpoints.redis_url,
            "schema_registry_url": endpoints.schema_registry_url,
            "topic_prefix": f"{name}.",
            "consumer_group": name,
            **more,
        }
    )
