"""That the relay begins to read above what was sent long ago, and passes over no row that may still come."""

from __future__ import annotations

import contextlib
import random
from concurrent import futures
from typing import TYPE_CHECKING, Any

import pytest

from allocation.adapters.postgres import dedicated, figures, outbox_floor, outbox_rows, relay_shards, schema
from allocation.service_layer.relaying import checkpoints
from tests import databases

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy

    from allocation import devstack

_ALL = 10**6


class Relaying:
    """An outbox, and a relay that sends all that it reads to nowhere."""

    def __init__(self, database: sqlalchemy.Engine, connection: Any) -> None:
        self.database = database
        self.outbox = outbox_rows.OutboxRows(connection, shard=0)
        self._connection = connection

    def read(self) -> list[int]:
        return [row[0] for row in self.outbox.read(limit=_ALL, state=self.outbox.state()).rows]

    def send_all(self) -> list[int]:
        """Let a pass take all rows that are there; return their ids."""
        ids, state = self.read(), self.outbox.state()
        sent = checkpoints.Checkpoint(
            database_id=state.database_id,
            incarnation=state.incarnation,
            number=state.passes + 1,
            runs=tuple(checkpoints.Run(row_id, row_id) for row_id in ids),
        )
        assert self.outbox.settle(sent) == len(ids)
        return ids

    def send_new(self, *, times: int, rows: int = 1) -> None:
        """Draw rows and send them, again and again: the floor rises."""
        for _ in range(times):
            drawn = self.draw(rows=rows)
            assert self.send_all() == drawn

    def draw(self, *, rows: int = 1) -> list[int]:
        """Insert rows as a worker does, in a transaction of their own."""
        with self.database.begin() as writer:
            return draw(writer, rows=rows)

    def entries_read(self) -> int:
        """Return how many entries of their index have been read to find unsent rows, by whoever."""
        with self._connection.cursor() as cursor:  # of the one whose counts are not told yet
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute("SELECT")
        with self.database.connect() as other:
            count = "SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'outbox_unsent_idx'"
            return int(other.exec_driver_sql(count).scalar_one())


def draw(connection: sqlalchemy.Connection, *, rows: int = 1) -> list[int]:
    """Insert rows whose ids are drawn as those of workers are; return these."""
    drawn = connection.exec_driver_sql(
        "INSERT INTO outbox (shard, topic, value, headers) SELECT 0, 'events', '', '[]' FROM generate_series(1, %s) "
        "RETURNING id",
        (rows,),
    )
    return list(drawn.scalars())


@pytest.fixture
def database(endpoints: devstack.Endpoints) -> Iterator[sqlalchemy.Engine]:
    with databases.fresh(endpoints) as database:
        schema.migrate(database)
        schema.bind(database, cluster_id="cluster", topic_prefix="")
        relay_shards.RelayShards(database).add(count=1)
        yield database


@pytest.fixture
def relaying(database: sqlalchemy.Engine) -> Iterator[Relaying]:
    with dedicated.connection(database) as connection:
        yield Relaying(database, connection)


@contextlib.contextmanager
def an_open_snapshot(database: sqlalchemy.Engine) -> Iterator[None]:
    """Keep what is deleted meanwhile from being cleaned up, as a `pg_dump` does."""
    with database.connect() as connection:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.exec_driver_sql("SELECT FROM instance")
        yield


@pytest.fixture
def rises_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_floor, "STRIDE", 1)


def test_a_read_does_not_wade_through_what_was_sent_while_a_snapshot_is_open(relaying: Relaying) -> None:
    with an_open_snapshot(relaying.database):
        relaying.send_new(times=20, rows=1000)
        before = relaying.entries_read()
        drawn = relaying.draw()
        assert relaying.read() == drawn
        assert relaying.entries_read() - before <= 3 * outbox_floor.STRIDE


@pytest.mark.usefixtures("rises_at_once")
def test_a_row_that_commits_long_after_higher_ones_is_sent(relaying: Relaying) -> None:
    with relaying.database.begin() as late:
        low = draw(late)
        relaying.send_new(times=5)
    assert relaying.send_all() == low


def test_what_commits_in_any_order_is_all_sent_while_the_floor_rises(
    relaying: Relaying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_floor, "STRIDE", 3)
    with futures.ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(draw_now_and_then, relaying.database, random.Random(seed)) for seed in range(4)]
        sent = []
        while not all(writer.done() for writer in writers):
            sent += relaying.send_all()
    sent += relaying.send_all()
    assert sorted(sent) == sorted(row_id for writer in writers for row_id in writer.result())
    assert sent != sorted(sent)
    assert relaying.outbox._floor.id > 0  # noqa: SLF001 - else this would show nothing


def draw_now_and_then(database: sqlalchemy.Engine, chance: random.Random) -> list[int]:
    """Commit most of some transactions, short and long; return the ids that are there."""
    there = []
    for _ in range(40):
        with database.connect() as connection:
            drawn = [row_id for _ in range(chance.choice((1, 1, 3))) for row_id in draw(connection)]
            connection.exec_driver_sql("SELECT pg_sleep(%s)", (chance.choice((0, 0, 0.002, 0.03, 0.1)),))
            if chance.random() < 0.8:
                connection.commit()
                there += drawn
    return there


@pytest.mark.usefixtures("rises_at_once")
def test_a_row_that_was_quarantined_long_ago_can_be_released(relaying: Relaying) -> None:
    (refused,) = relaying.draw()
    relaying.outbox.quarantine(refused, reason="too large", state=relaying.outbox.state())
    relaying.send_new(times=5)
    outbox_rows.release(relaying.database, row_id=refused)
    assert relaying.send_all() == [refused]


@pytest.mark.usefixtures("rises_at_once")
@pytest.mark.parametrize(
    "restored",
    ["UPDATE instance SET incarnation = gen_random_uuid()", "UPDATE relay_shards SET passes = 3"],
    ids=["told", "not told yet"],
)
def test_a_restored_database_may_draw_lower_ids_again(relaying: Relaying, restored: str) -> None:
    relaying.send_new(times=5)
    with relaying.database.begin() as connection:
        connection.exec_driver_sql(restored)
        connection.exec_driver_sql("ALTER SEQUENCE outbox_id_seq RESTART WITH 1")
    assert relaying.draw() == [1]
    assert relaying.send_all() == [1]


class Locks:
    """In the place of the relay's cursor: who holds the outbox locked for writing, look by look."""

    def __init__(self, *looks: Sequence[tuple[str, bool]]) -> None:
        self._looks = list(looks)
        self._is_asked_for_locks = False

    def execute(self, statement: str, _values: Sequence[object] = ()) -> None:
        self._is_asked_for_locks = "pg_locks" in statement

    def fetchall(self) -> Sequence[tuple[str, bool]]:
        assert self._is_asked_for_locks
        return self._looks.pop(0)

    def fetchone(self) -> tuple[None]:
        assert not self._is_asked_for_locks
        return (None,)


@pytest.mark.usefixtures("rises_at_once")
@pytest.mark.parametrize(
    ("looks", "floors"),
    [
        ([[], [], []], [1, 8, 9]),
        ([[("3/7", False)], [("3/7", False)], []], [1, 1, 8]),
        ([[("3/7", False)], [("4/1", False)], [("5/9", False)]], [1, 8, 9]),
        ([[], [("-1/812", True)], []], [1, 1, 8]),
    ],
    ids=["nobody writes", "one goes on writing", "others write", "one is prepared, and known by another name"],
)
def test_the_floor_waits_for_whoever_wrote_when_an_id_was_seen(
    looks: Sequence[Sequence[tuple[str, bool]]], floors: Sequence[int]
) -> None:
    floor = outbox_floor.Floor(Locks(*looks))
    found = []
    for last in (7, 8, 9):
        floor.sent(1, last=last)
        found.append(floor.id)
    assert found == floors


def test_for_how_long_somebody_keeps_what_is_deleted_is_known(database: sqlalchemy.Engine) -> None:
    look = figures.DatabaseFigures(database)
    with database.connect() as idle:
        idle.exec_driver_sql("SELECT pg_sleep(0)")
        assert look().oldest_transaction_s == 0
        with an_open_snapshot(database):
            assert 0 < look().oldest_transaction_s < look().oldest_transaction_s
    assert look().oldest_transaction_s == 0
