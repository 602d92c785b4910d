from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import sqlalchemy

from allocation.adapters.postgres import engine, leases, tables
from allocation.service_layer import ports
from tests import databases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack


@pytest.fixture(scope="module")
def shared_database(endpoints: devstack.Endpoints) -> Iterator[sqlalchemy.Engine]:
    with databases.fresh(endpoints) as database:
        tables.metadata.create_all(database, tables=[tables.leases])
        yield database


@pytest.fixture
def database(shared_database: sqlalchemy.Engine) -> sqlalchemy.Engine:
    with shared_database.begin() as connection:
        connection.execute(tables.leases.delete())
    return shared_database


def a_lease(database: sqlalchemy.Engine, *, name: str = "relay-0", duration_s: float = 60) -> leases.Lease:
    return leases.Lease(database, name=name, duration_s=duration_s)


def test_a_free_lease_is_given_to_the_first_who_asks(database: sqlalchemy.Engine) -> None:
    first, second = a_lease(database), a_lease(database)
    assert first.acquire()
    assert not second.acquire()
    assert first.acquire()


def test_leases_of_other_names_are_other_leases(database: sqlalchemy.Engine) -> None:
    assert a_lease(database, name="relay-0").acquire()
    assert a_lease(database, name="relay-1").acquire()


def test_an_expired_lease_goes_to_whoever_asks_next(database: sqlalchemy.Engine) -> None:
    first, second = a_lease(database, duration_s=0), a_lease(database)
    first.acquire()
    assert second.acquire()
    assert not first.renew()
    assert not first.acquire()


def test_a_lease_that_expired_unclaimed_can_be_renewed(database: sqlalchemy.Engine) -> None:
    lease = a_lease(database, duration_s=0)
    lease.acquire()
    assert lease.renew()


def test_a_released_lease_is_free(database: sqlalchemy.Engine) -> None:
    first, second = a_lease(database), a_lease(database)
    first.acquire()
    first.release()
    assert second.acquire()


def test_releasing_anothers_lease_does_nothing(database: sqlalchemy.Engine) -> None:
    first, second = a_lease(database), a_lease(database)
    first.acquire()
    second.release()
    assert first.renew()


def test_expiry_goes_by_the_clock_of_the_database(database: sqlalchemy.Engine) -> None:
    a_lease(database, duration_s=30).acquire()
    remaining = sqlalchemy.select(tables.leases.c.expires_at - sqlalchemy.func.clock_timestamp())
    with database.connect() as connection:
        assert 20 < connection.execute(remaining).scalar_one().total_seconds() <= 30


def test_a_database_that_is_gone_is_an_outage() -> None:
    nowhere = engine.create("postgresql+psycopg2://nobody@127.0.0.1:1/nothing")
    with pytest.raises(ports.DependencyDown):
        a_lease(nowhere).acquire()
