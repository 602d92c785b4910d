"""A host on which a version lies, and the administrator's view of its database."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
import sqlalchemy

from tests.runbook import host as hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from allocation import config


@pytest.fixture
def tables(settings: config.Settings) -> Iterator[sqlalchemy.Engine]:
    """The database, as its administrator sees it."""
    engine = sqlalchemy.create_engine(settings.database_url, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture
def host(settings: config.Settings, tmp_path: Path) -> Iterator[hosts.Host]:
    """A host on which version 1.0 lies, and nothing is deployed yet."""
    own = settings.model_copy(update={"grace_s": 600.0, "partitions": 6, "kafka_config": {}, "relay_lease_s": 1.0})
    with contextlib.closing(hosts.Host(tmp_path, own)) as host:
        host.install("1.0")
        yield host
