"""Databases of their own for tests that need PostgreSQL alone."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import sqlalchemy

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
