"""What stands against a move, and what the database says after it; the run-book's test moves a whole installation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocation.adapters.postgres import rebinding, schema
from allocation.service_layer.operations import audit
from allocation.service_layer.operations.replay import ports
from tests import databases
from tests.integration import operator_commands

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy

    from allocation import config, devstack

NOTE = audit.Note("jane", "the old cluster is given up")


@pytest.fixture
def database(endpoints: devstack.Endpoints) -> Iterator[sqlalchemy.Engine]:
    with databases.fresh(endpoints) as database:
        schema.migrate(database)
        schema.bind(database, cluster_id="old", topic_prefix="")
        yield database


def execute(database: sqlalchemy.Engine, statement: str) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql(statement)


def test_nothing_is_moved_to_where_it_is(initialised: config.Settings) -> None:
    arguments = ("move", "--from", initialised.kafka_bootstrap_servers, "--why", "by mistake")
    with pytest.raises(ports.CannotReplay, match="there is nothing to move"):
        operator_commands.Commands(initialised).run(*arguments)


def test_what_is_still_to_be_sent_or_somebody_at_work_stands_against_a_move(database: sqlalchemy.Engine) -> None:
    execute(database, "INSERT INTO outbox (shard, topic, headers) VALUES (0, 'line_allocated', '[]')")
    with pytest.raises(ports.CannotReplay, match="1 messages in the outbox are not sent yet"):
        rebinding.check_movable(database)
    execute(database, "INSERT INTO leases VALUES ('relay-0', 'somebody', now() + interval '1 minute')")
    with pytest.raises(ports.CannotReplay, match=r"in use: relay-0 \(somebody\)"):
        rebinding.rebind(database, cluster_id="new", topic_ids={}, note=NOTE)
    schema.check_binding(database, cluster_id="old", topic_prefix="")


def test_a_moved_database_follows_its_topics(database: sqlalchemy.Engine) -> None:
    execute(
        database, "INSERT INTO positions VALUES ('id-1', 0, 'allocate', 7, 3, 6, ''), ('id-0', 0, 'x', 1, 3, 0, '')"
    )
    execute(database, "INSERT INTO bridge_positions VALUES ('redis', 'id-2', 0, 5)")
    execute(database, "INSERT INTO relay_shards VALUES (0, true, 9)")
    rebinding.rebind(database, cluster_id="new", topic_ids={"id-1": "new-1", "id-2": "new-2"}, note=NOTE)
    schema.check_binding(database, cluster_id="new", topic_prefix="")
    with database.connect() as connection:
        query = "SELECT topic_id, next_offset, leader_epoch FROM positions ORDER BY topic_id"
        assert [tuple(row) for row in connection.exec_driver_sql(query)] == [("id-0", 1, 0), ("new-1", 7, 0)]
        assert connection.exec_driver_sql("SELECT topic_id FROM bridge_positions").scalar() == "new-2"
        assert connection.exec_driver_sql("SELECT checkpointed FROM relay_shards").scalar() is False
        assert connection.exec_driver_sql("SELECT what FROM audit").scalar() == "cluster.moved"
