"""A migrated database for tests that need PostgreSQL alone, shared by those of a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocation.adapters.postgres import schema
from tests import databases, installations

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from allocation import devstack


@pytest.fixture(scope="module")
def shared_database(endpoints: devstack.Endpoints) -> Iterator[sqlalchemy.Engine]:
    with databases.fresh(endpoints) as database:
        schema.migrate(database)
        yield database


@pytest.fixture
def installation(shared_database: sqlalchemy.Engine) -> installations.PostgresInstallation:
    installation = installations.PostgresInstallation(shared_database)
    installation.empty()
    return installation
