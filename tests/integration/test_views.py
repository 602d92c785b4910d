from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy

from allocation import bootstrap, views
from allocation.adapters.postgres import schema, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import config


@pytest.fixture
def connection(settings: config.Settings) -> Iterator[sqlalchemy.Connection]:
    with bootstrap.database(settings) as engine:
        schema.migrate(engine)
        with engine.connect() as connection:
            yield connection


def a_line(connection: sqlalchemy.Connection, **shown: Any) -> None:
    row = {"orderid": "o1", "sku": "CHAIR", "qty": 1, "batchref": "b1", "place": 0} | shown
    connection.execute(sqlalchemy.insert(tables.order_lines).values(row))


def an_outcome(connection: sqlalchemy.Connection, **shown: Any) -> views.CommandOutcome:
    outcome: dict[str, Any] = {"id": "c1", "source": "me", "digest": b"\0\1", "outcome": "handled"} | shown
    place: dict[str, Any] = {"topic": "allocate", "partition": 3, "offset": 2**40}
    connection.execute(sqlalchemy.insert(tables.inbox).values(attempt=1, **outcome, **place))
    status = outcome.pop("outcome")
    return views.CommandOutcome(status=status, **outcome, **place)


def test_an_orders_lines_come_by_sku_and_quantity(connection: sqlalchemy.Connection) -> None:
    a_line(connection, sku="TABLE", qty=1, batchref="b2", place=0)
    a_line(connection, sku="CHAIR", qty=20, place=0)
    a_line(connection, sku="CHAIR", qty=3, place=1)
    a_line(connection, orderid="o2", place=2)
    assert views.allocations(connection, orderid="o1") == (
        views.AllocatedLine("CHAIR", "b1", 3),
        views.AllocatedLine("CHAIR", "b1", 20),
        views.AllocatedLine("TABLE", "b2", 1),
    )


@pytest.mark.parametrize("orderid", ["o2", "", "O1", "a\0b", "\ud800", "'; DROP TABLE order_lines; --", "%", "日本"])
def test_an_unknown_order_has_no_lines(connection: sqlalchemy.Connection, orderid: str) -> None:
    a_line(connection)
    assert views.allocations(connection, orderid=orderid) == ()


def test_an_outcome_is_shown_as_the_worker_wrote_it(connection: sqlalchemy.Connection) -> None:
    handled = an_outcome(connection, id="c1", result="b1")
    refused = an_outcome(connection, id="c2", outcome="refused", reason="invalid_sku", error="Invalid sku CHAIR")
    waiting = an_outcome(connection, id="ключ", outcome="waiting", reason="queued", error="keeps its place")
    for outcome in (handled, refused, waiting):
        assert views.command_outcome(connection, id=outcome.id, source="me") == outcome


@pytest.mark.parametrize("commandid", ["c2", "", "a\0b", "\ud800"])
def test_a_command_that_was_never_seen_has_no_outcome(connection: sqlalchemy.Connection, commandid: str) -> None:
    an_outcome(connection)
    assert views.command_outcome(connection, id=commandid, source="me") is None


def test_of_two_senders_with_the_same_id_the_preferred_one_is_shown(connection: sqlalchemy.Connection) -> None:
    theirs = an_outcome(connection, source="a sender")
    ours = an_outcome(connection, source="me")
    assert views.command_outcome(connection, id="c1", source="me") == ours
    assert views.command_outcome(connection, id="c1", source="another") == theirs


def test_outcomes_of_many_commands_come_in_one_answer(connection: sqlalchemy.Connection) -> None:
    first, second = an_outcome(connection, id="c1"), an_outcome(connection, id="c2")
    an_outcome(connection, id="c3", source="someone else")
    found = views.command_outcomes(connection, ids=("c1", "c2", "c3", "c4"), source="me")
    assert found == {"c1": first, "c2": second}
    assert views.command_outcomes(connection, ids=(), source="me") == {}
