from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
import sqlalchemy

from allocation.adapters.postgres import engine, notifications
from allocation.service_layer import ports
from tests import databases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack

LONG_S = 20.0  # no test waits that long: it would fail by its duration


@pytest.fixture(scope="module")
def database(endpoints: devstack.Endpoints) -> Iterator[sqlalchemy.Engine]:
    with databases.fresh(endpoints) as database:
        yield database


@pytest.fixture
def listener(database: sqlalchemy.Engine) -> Iterator[notifications.Listener]:
    with notifications.Listener(database) as listener:
        assert listener.wait(LONG_S)
        yield listener


def notify(database: sqlalchemy.Engine) -> None:
    with database.begin() as connection:
        connection.execute(sqlalchemy.text(notifications.NOTIFY))


def test_a_hint_that_came_before_the_wait_is_not_missed(
    database: sqlalchemy.Engine, listener: notifications.Listener
) -> None:
    notify(database)
    assert listener.wait(LONG_S)


def test_a_hint_ends_the_wait(database: sqlalchemy.Engine, listener: notifications.Listener) -> None:
    timer = threading.Timer(0.05, notify, (database,))
    timer.start()
    began = time.monotonic()
    assert listener.wait(LONG_S)
    assert time.monotonic() - began < LONG_S / 2
    timer.join()


def test_several_hints_are_one(database: sqlalchemy.Engine, listener: notifications.Listener) -> None:
    for _ in range(3):
        notify(database)
    listener._connection.cursor().execute("SELECT")  # noqa: SLF001 - before its answer the server sends all of them
    assert listener.wait(LONG_S)
    assert not listener.wait(0)


def test_without_a_hint_the_wait_ends_with_its_time(listener: notifications.Listener) -> None:
    assert not listener.wait(0.01)


def test_a_transaction_that_is_rolled_back_gives_no_hint(
    database: sqlalchemy.Engine, listener: notifications.Listener
) -> None:
    with database.connect() as connection:
        connection.execute(sqlalchemy.text(notifications.NOTIFY))
        connection.rollback()
    assert not listener.wait(0.01)


def test_a_lost_connection_is_said_and_a_new_one_counts_as_a_hint(
    database: sqlalchemy.Engine, listener: notifications.Listener
) -> None:
    with database.begin() as connection:
        connection.execute(
            sqlalchemy.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    # The server's last words arrive first, the end of the connection after them.
    with pytest.raises(ports.DependencyDown):
        _ = [listener.wait(LONG_S) for _ in range(2)]
    assert listener.wait(LONG_S)
    notify(database)
    assert listener.wait(LONG_S)


def test_a_database_that_is_gone_is_an_outage() -> None:
    nowhere = engine.create("postgresql+psycopg2://nobody@127.0.0.1:1/nothing")
    with notifications.Listener(nowhere) as listener, pytest.raises(ports.DependencyDown):
        listener.wait(0)
