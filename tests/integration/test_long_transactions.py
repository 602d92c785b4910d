"""What reads or moves whole tables may take longer than a worker's transaction, which has to be short."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocation.adapters.postgres import comparing, engine, snapshot
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

USUAL_S = 1
LONGER_S = 1.5
_SLEEP = f"SELECT 'a table', now() FROM pg_sleep({LONGER_S})"


@pytest.fixture
def database(shared_database: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlalchemy.Engine]:
    """A database whose transactions must be very short."""
    monkeypatch.setattr(engine, "_OPTIONS", {"transaction_timeout": f"{USUAL_S}s"})
    hasty = engine.create(shared_database.url.render_as_string(hide_password=False))
    yield hasty
    hasty.dispose()


def sleep(database: sqlalchemy.Engine, *before: str) -> None:
    with engine.cursor(database) as cursor:
        for statement in (*before, _SLEEP):
            cursor.execute(statement)


def test_a_transaction_is_ended_by_the_server_after_its_time_or_after_the_one_that_it_was_given(
    database: sqlalchemy.Engine,
) -> None:
    with pytest.raises(ports.DependencyDown, match="the database does not answer"):
        sleep(database)
    with pytest.raises(ports.DependencyDown, match="the database does not answer"):
        sleep(database, engine.lasting("1200ms"))
    sleep(database, engine.lasting("1min"))


def test_a_snapshot_may_take_long(database: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_PRUNED", _SLEEP)
    assert list(snapshot.PostgresSnapshots(database).read().pruned) == ["a table"]


def test_a_comparison_may_take_long(database: sqlalchemy.Engine) -> None:
    with comparing.side(database) as side:
        sleep(database, engine.lasting("1min"))
        assert list(side.rows("products")) == []
