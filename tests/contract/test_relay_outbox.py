"""What the relay expects of its outbox, asked of the fake and of PostgreSQL."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import sqlalchemy

from allocation.adapters.postgres import dedicated, outbox_rows, relay_shards, schema, tables
from allocation.service_layer.relaying import checkpoints, ports
from tests import databases
from tests.fakes import relaying as fakes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack


class Subject(Protocol):
    """An outbox, and its other side."""

    @property
    def outbox(self) -> ports.Outbox: ...

    def insert(self, row_id: int, *, sku: str | None = "LAMP", value: bytes = b"") -> None: ...

    def begin_another_life(self) -> None: ...

    @property
    def ids(self) -> list[int]: ...


class FakeSubject:
    def __init__(self) -> None:
        self.outbox = fakes.FakeOutbox()
        self.insert = self.outbox.insert

    @property
    def ids(self) -> list[int]:
        return self.outbox.ids

    def begin_another_life(self) -> None:
        self.outbox.shard_state = dataclasses.replace(
            self.outbox.shard_state, incarnation="second life", earlier=frozenset({"first life"})
        )


class PostgresSubject:
    def __init__(self, database: sqlalchemy.Engine, connection: Any) -> None:
        self._database = database
        self.connection = connection
        self.outbox = outbox_rows.OutboxRows(connection, shard=0)

    @property
    def ids(self) -> list[int]:
        query = sqlalchemy.select(tables.outbox.c.id).order_by(tables.outbox.c.id)
        with self._database.connect() as connection:
            return list(connection.scalars(query))

    def insert(self, row_id: int, *, sku: str | None = "LAMP", value: bytes = b"") -> None:
        key = None if sku is None else sku.encode()
        row = {"id": row_id, "shard": 0, "topic": "events", "key": key, "value": value, "headers": "[]", "sku": sku}
        with self._database.begin() as connection:
            connection.execute(tables.outbox.insert(), row)

    def begin_another_life(self) -> None:
        with self._database.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE instance SET earlier = earlier || incarnation, incarnation = gen_random_uuid()"
            )


@pytest.fixture(scope="module")
def shared_database(endpoints: devstack.Endpoints) -> Iterator[sqlalchemy.Engine]:
    with databases.fresh(endpoints) as database:
        schema.migrate(database)
        schema.bind(database, cluster_id="cluster", topic_prefix="")
        yield database


@pytest.fixture
def database(shared_database: sqlalchemy.Engine) -> sqlalchemy.Engine:
    with shared_database.begin() as connection:
        connection.execute(tables.outbox.delete())
        connection.execute(tables.relay_shards.delete())
    relay_shards.RelayShards(shared_database).add(count=1)
    return shared_database


@pytest.fixture
def postgres(database: sqlalchemy.Engine) -> Iterator[PostgresSubject]:
    with dedicated.connection(database) as connection:
        yield PostgresSubject(database, connection)


@pytest.fixture(params=["fake", "postgres"])
def subject(request: pytest.FixtureRequest) -> Subject:
    return FakeSubject() if request.param == "fake" else request.getfixturevalue("postgres")


def a_checkpoint(outbox: ports.Outbox, *runs: tuple[int, int], number: int = 1) -> checkpoints.Checkpoint:
    state = outbox.state()
    return checkpoints.Checkpoint(
        database_id=state.database_id,
        incarnation=state.incarnation,
        number=number,
        runs=tuple(checkpoints.Run(*run) for run in runs),
    )


def read(outbox: ports.Outbox, *, limit: int = 100) -> ports.Window:
    return outbox.read(limit=limit, state=outbox.state())


def read_ids(outbox: ports.Outbox, *, limit: int = 100) -> list[int]:
    return [row[0] for row in read(outbox, limit=limit).rows]


def test_rows_are_read_in_the_order_of_their_ids(subject: Subject) -> None:
    for row_id in (3, 1, 2):
        subject.insert(row_id)
    window = read(subject.outbox)
    assert [row[0] for row in window.rows] == [1, 2, 3]
    assert not window.is_cut


def test_a_read_takes_no_more_than_its_limit(subject: Subject) -> None:
    for row_id in (1, 2, 3):
        subject.insert(row_id)
    window = read(subject.outbox, limit=2)
    assert [row[0] for row in window.rows] == [1, 2]
    assert window.is_cut


@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize(
    "change",
    [
        {"passes": 1},
        {"incarnation": "00000000-0000-0000-0000-000000000000"},
        {"delivery": ports.Delivery.AT_LEAST_ONCE},
    ],
    ids=str,
)
def test_nothing_is_read_of_a_shard_that_is_not_as_it_was_seen(subject: Subject, change: Any, rows: int) -> None:
    seen = dataclasses.replace(subject.outbox.state(), **change)
    for row_id in range(1, rows + 1):
        subject.insert(row_id)
    with pytest.raises(ports.Superseded):
        subject.outbox.read(limit=10, state=seen)


def test_settling_deletes_the_rows_of_the_pass_alone_and_counts_it(subject: Subject) -> None:
    for row_id in (1, 2, 3, 5, 9):
        subject.insert(row_id)
    sent = a_checkpoint(subject.outbox, (1, 2), (5, 5))
    assert subject.outbox.count(sent) == 3
    assert subject.outbox.settle(sent) == 3
    assert subject.ids == [3, 9]
    assert subject.outbox.state().passes == 1


@pytest.mark.parametrize("number", [0, 2])
def test_settling_another_pass_than_the_next_deletes_nothing(subject: Subject, number: int) -> None:
    subject.insert(1)
    with pytest.raises(ports.Superseded):
        subject.outbox.settle(a_checkpoint(subject.outbox, (1, 1), number=number))
    assert subject.ids == [1]
    assert subject.outbox.state().passes == 0


def test_settling_a_pass_of_a_former_life_deletes_nothing(subject: Subject) -> None:
    subject.insert(1)
    sent = a_checkpoint(subject.outbox, (1, 1))
    subject.begin_another_life()
    with pytest.raises(ports.Superseded):
        subject.outbox.settle(sent)
    assert subject.ids == [1]
    assert sent.incarnation in subject.outbox.state().earlier


def test_a_quarantined_row_and_later_ones_of_its_sku_are_not_read(subject: Subject) -> None:
    for row_id, sku in ((1, "LAMP"), (2, "LAMP"), (3, "CHAIR"), (4, "LAMP")):
        subject.insert(row_id, sku=sku)
    assert subject.outbox.quarantine(2, reason="too large", state=subject.outbox.state()) == 2
    subject.insert(5, sku="LAMP")
    subject.insert(6, sku="CHAIR")
    assert read_ids(subject.outbox) == [1, 3, 6]
    assert subject.ids == [1, 2, 3, 4, 5, 6]


def test_a_quarantined_row_without_a_sku_holds_nothing_back(subject: Subject) -> None:
    for row_id in (1, 2):
        subject.insert(row_id, sku=None)
    assert subject.outbox.quarantine(1, reason="too large", state=subject.outbox.state()) == 1
    assert read_ids(subject.outbox) == [2]


def test_a_relay_that_was_overtaken_quarantines_nothing(subject: Subject) -> None:
    for row_id in (1, 2):
        subject.insert(row_id)
    before = subject.outbox.state()
    subject.outbox.settle(a_checkpoint(subject.outbox, (1, 1)))
    with pytest.raises(ports.Superseded):
        subject.outbox.quarantine(2, reason="too large", state=before)
    assert read_ids(subject.outbox) == [2]


def test_an_empty_shard_can_be_told_to_deliver_otherwise(subject: Subject) -> None:
    subject.insert(1)
    subject.outbox.settle(a_checkpoint(subject.outbox, (1, 1)))
    before = subject.outbox.state()
    assert subject.outbox.switch(ports.Delivery.AT_LEAST_ONCE, state=before) == 0
    assert subject.outbox.state() == dataclasses.replace(before, delivery=ports.Delivery.AT_LEAST_ONCE)


def test_a_shard_with_rows_goes_on_delivering_as_it_does(subject: Subject) -> None:
    for row_id in (1, 2):
        subject.insert(row_id)
    subject.outbox.quarantine(1, reason="too large", state=subject.outbox.state())
    before = subject.outbox.state()
    assert subject.outbox.switch(ports.Delivery.AT_LEAST_ONCE, state=before) == 2
    assert subject.outbox.state() == before


def test_a_relay_that_was_overtaken_changes_no_delivery(subject: Subject) -> None:
    subject.insert(1)
    before = subject.outbox.state()
    subject.outbox.settle(a_checkpoint(subject.outbox, (1, 1)))
    with pytest.raises(ports.Superseded):
        subject.outbox.switch(ports.Delivery.AT_LEAST_ONCE, state=before)
    assert subject.outbox.state().delivery is ports.Delivery.EXACTLY_ONCE


def test_a_released_row_is_read_again_with_those_behind_it(
    postgres: PostgresSubject, database: sqlalchemy.Engine
) -> None:
    for row_id, sku in ((1, "LAMP"), (2, "CHAIR"), (3, "LAMP")):
        postgres.insert(row_id, sku=sku)
    for row_id in (1, 2):
        postgres.outbox.quarantine(row_id, reason="too large", state=postgres.outbox.state())
    postgres.insert(4, sku="LAMP")
    assert read_ids(postgres.outbox) == []
    assert outbox_rows.release(database, row_id=1) == 3
    assert read_ids(postgres.outbox) == [1, 3, 4]


def test_rows_behind_a_quarantined_one_leave_the_way_of_the_scan(
    postgres: PostgresSubject, database: sqlalchemy.Engine
) -> None:
    postgres.insert(1)
    postgres.outbox.quarantine(1, reason="too large", state=postgres.outbox.state())
    for row_id in (2, 3):
        postgres.insert(row_id)
    for _ in range(2):
        read_ids(postgres.outbox)
    unmarked = sqlalchemy.select(tables.outbox.c.id).where(tables.outbox.c.quarantined.is_(None))
    with database.connect() as connection:
        assert connection.scalars(unmarked).all() == []


def test_a_read_takes_no_more_than_its_bytes_but_at_least_one_row(
    postgres: PostgresSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_rows, "MAX_BYTES", 100)
    for row_id, size in ((1, 500), (2, 40), (3, 40), (4, 40), (5, 1)):
        postgres.insert(row_id, sku=None, value=b"x" * size)
    sizes = []
    for number, last in enumerate((1, 4, 5), start=1):
        window = read(postgres.outbox)
        sizes.append(([row[0] for row in window.rows], window.is_cut))
        postgres.outbox.settle(a_checkpoint(postgres.outbox, (1, last), number=number))
    assert sizes == [([1], True), ([2, 3, 4], True), ([5], False)]


def test_an_empty_value_is_not_taken_for_none(postgres: PostgresSubject) -> None:
    postgres.insert(1, sku=None, value=b"")
    postgres.insert(2, sku="", value=bytes(range(256)))
    assert read(postgres.outbox, limit=2).rows == [
        (1, "events", None, None, b"", "[]"),
        (2, "events", None, b"", bytes(range(256)), "[]"),
    ]


def test_a_shard_that_does_not_exist_is_no_empty_shard(database: sqlalchemy.Engine) -> None:
    with dedicated.connection(database) as connection, pytest.raises(ports.RelayStopped, match="no relay shard 7"):
        outbox_rows.OutboxRows(connection, shard=7).state()
