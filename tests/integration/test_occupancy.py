"""Who is in the way of what may be done only when nobody works with the database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from allocation.adapters.postgres import engine, occupancy
from allocation.service_layer.operations.replay import ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy


@pytest.fixture
def others(shared_database: sqlalchemy.Engine) -> Iterator[sqlalchemy.Engine]:
    """Connections of a part of this service, which is a process of its own otherwise."""
    others = engine.create(shared_database.url.render_as_string(hide_password=False), keeps_connections=False)
    yield others
    others.dispose()


def test_whoever_stays_connected_is_named(
    shared_database: sqlalchemy.Engine, others: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(occupancy, "_PATIENCE_S", 0.1)
    with (
        others.connect(),
        engine.cursor(shared_database) as cursor,
        pytest.raises(ports.CannotReplay, match=r"in use: connection \d+ from "),
    ):
        occupancy.check_unused(cursor)


def test_whoever_ends_in_a_moment_is_in_nobodys_way(
    shared_database: sqlalchemy.Engine, others: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(occupancy, "_PATIENCE_S", 60.0)
    leaving = threading.Timer(0.3, others.connect().close)
    with engine.cursor(shared_database) as cursor:
        leaving.start()
        occupancy.check_unused(cursor)
    leaving.join()
