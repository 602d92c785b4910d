"""What the bridge keeps in the database: the stand-ins behave as Postgres does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocation import bootstrap
from allocation.adapters.postgres import bridge_positions, leases, schema
from tests.fakes import bridging as fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import sqlalchemy

    from allocation import config
    from allocation.service_layer.bridging import ports


@pytest.fixture
def database(settings: config.Settings) -> Iterator[sqlalchemy.Engine]:
    with bootstrap.database(settings) as engine:
        schema.migrate(engine)
        yield engine


@pytest.fixture(params=["fake", "postgres"])
def positions(request: pytest.FixtureRequest) -> ports.Positions:
    if request.param == "fake":
        return fakes.FakePositions()
    return bridge_positions.BridgePositions(request.getfixturevalue("database"))


@pytest.fixture(params=["fake", "postgres"])
def a_lease(request: pytest.FixtureRequest) -> Callable[[], ports.Lease]:
    """Make leases of the same name for different owners; they last for ever."""
    if request.param == "fake":
        table = fakes.FakeLeases()
        return lambda: fakes.FakeLease(table)
    database = request.getfixturevalue("database")
    return lambda: leases.Lease(database, name="bridge", duration_s=1000.0)


@pytest.fixture(params=["fake", "postgres"])
def an_expired_lease(request: pytest.FixtureRequest) -> tuple[ports.Lease, ports.Lease]:
    """One that was acquired and has expired, and another of the same name."""
    if request.param == "fake":
        table = fakes.FakeLeases()
        expired = fakes.FakeLease(table)
        expired.acquire()
        table.expire()
        return expired, fakes.FakeLease(table)
    database = request.getfixturevalue("database")
    lapsed = leases.Lease(database, name="bridge", duration_s=-1.0)
    lapsed.acquire()
    return lapsed, leases.Lease(database, name="bridge", duration_s=1000.0)


def test_a_reader_that_never_ran_has_no_positions(positions: ports.Positions) -> None:
    assert positions.load(reader="redis", topic_id="topic") == {}


def test_positions_are_those_of_one_reader_and_one_topic(positions: ports.Positions) -> None:
    positions.advance(reader="redis", topic_id="topic", next_offsets={0: 5, 3: 7})

    assert positions.load(reader="redis", topic_id="topic") == {0: 5, 3: 7}
    assert positions.load(reader="email", topic_id="topic") == {}
    assert positions.load(reader="redis", topic_id="made anew") == {}


def test_positions_advance_and_do_not_go_back(positions: ports.Positions) -> None:
    positions.advance(reader="redis", topic_id="topic", next_offsets={0: 5, 1: 5})
    positions.advance(reader="redis", topic_id="topic", next_offsets={0: 6, 1: 4})

    assert positions.load(reader="redis", topic_id="topic") == {0: 6, 1: 5}


def test_positions_can_be_reset(positions: ports.Positions) -> None:
    positions.advance(reader="redis", topic_id="topic", next_offsets={0: 5, 1: 5})
    positions.reset(reader="redis", topic_id="topic", next_offsets={0: 2})

    assert positions.load(reader="redis", topic_id="topic") == {0: 2, 1: 5}


def test_nothing_to_store_is_fine(positions: ports.Positions) -> None:
    positions.advance(reader="redis", topic_id="topic", next_offsets={})


def test_one_owner_at_a_time_has_the_lease(a_lease: Callable[[], ports.Lease]) -> None:
    ours, theirs = a_lease(), a_lease()

    assert ours.acquire()
    assert ours.acquire()
    assert not theirs.acquire()
    assert ours.renew()
    assert not theirs.renew()


def test_a_lease_that_was_given_back_is_free(a_lease: Callable[[], ports.Lease]) -> None:
    ours, theirs = a_lease(), a_lease()
    ours.acquire()
    theirs.release()
    assert not theirs.acquire()
    ours.release()

    assert not ours.renew()
    assert theirs.acquire()


def test_an_expired_lease_can_still_be_renewed(an_expired_lease: tuple[ports.Lease, ports.Lease]) -> None:
    expired, _ = an_expired_lease

    assert expired.renew()


def test_an_expired_lease_can_be_taken(an_expired_lease: tuple[ports.Lease, ports.Lease]) -> None:
    expired, other = an_expired_lease

    assert other.acquire()
    assert not expired.renew()
