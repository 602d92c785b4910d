"""What only PostgreSQL does: connections that break, hints, the journal's row, queues of hundreds."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any

import psycopg2.errors
import pytest
import sqlalchemy

import allocation
from allocation.adapters.postgres import (
    engine,
    notifications,
    prepared,
    restoring,
    schema,
    tables,
    waiting_room,
    writes,
)
from allocation.adapters.postgres import unit_of_work as postgres
from allocation.service_layer import messages, ports, unit_of_work
from allocation.service_layer.operations.replay import journal_order
from tests import builders, databases, installations, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack
    from allocation.domain import commands

NEVER = datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC)
ENTRIES = [
    unit_of_work.JournalEntry("handled", "allocate", 0, 1, 2),
    unit_of_work.JournalEntry("refused", "b", 1, 3, 3),
]


@pytest.fixture(scope="module")
def database(endpoints: devstack.Endpoints) -> Iterator[sqlalchemy.Engine]:
    with databases.fresh(endpoints) as database:
        schema.migrate(database)
        yield database


@pytest.fixture
def installation(database: sqlalchemy.Engine) -> installations.PostgresInstallation:
    database.dispose()  # connections that an earlier test broke
    installation = installations.PostgresInstallation(database)
    installation.empty()
    return installation


def cursor_of(uow: unit_of_work.MessageUnitOfWork) -> Any:
    assert isinstance(uow, postgres.PostgresUnitOfWork)
    return uow._cursor  # noqa: SLF001 - to break its connection


def claim(uow: unit_of_work.MessageUnitOfWork, command: commands.Command | None = None) -> None:
    uow.claim([builders.a_message(command or builders.an_allocate())])


def kill_connections(database: sqlalchemy.Engine) -> None:
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"
    with database.connect() as connection:
        own = connection.connection.cursor()
        own.execute("SELECT pg_backend_pid()")
        own.execute(others, own.fetchone())


@pytest.mark.parametrize("when", ["before the first statement", "before the commit"])
def test_a_connection_that_breaks_is_an_outage_and_the_next_one_works(
    database: sqlalchemy.Engine, installation: installations.PostgresInstallation, when: str
) -> None:
    currency = restoring.Currency(database, last_rows=dict)
    currency.check()
    with installation.begin() as uow:
        if when == "before the commit":
            claim(uow)
        was_doubtful = currency.is_doubtful
        kill_connections(database)
        with pytest.raises(ports.DependencyDown, match="the database does not answer"):
            claim(uow) if when == "before the first statement" else uow.commit()
    assert (was_doubtful, currency.is_doubtful) == (False, True)
    with installation.begin() as uow:
        claim(uow)
        uow.commit()


@pytest.mark.usefixtures("installation")
def test_a_database_without_a_row_of_the_journals_end_is_an_older_state(database: sqlalchemy.Engine) -> None:
    """Also when it has a later one: numbers commit out of order."""
    rows = {number: journal_order.Row(number, builders.NOW, "1", ()) for number in (5, 6, 7)}
    with database.begin() as connection:
        for number in (5, 7):
            connection.execute(tables.journal.insert(), {"number": number, "version": "1", "entries": []})
    restoring.check_is_current(database, last_rows={number: rows[number] for number in (5, 7)})
    with pytest.raises(engine.NotInitialised, match=r"row 6 of the journal .* up to 7"):
        restoring.check_is_current(database, last_rows=rows)


def test_connections_of_the_pool_that_broke_meanwhile_do_no_harm_for_long(
    database: sqlalchemy.Engine, installation: installations.PostgresInstallation
) -> None:
    with installation.begin(), installation.begin(), installation.begin():
        pass
    kill_connections(database)
    failures = 0
    while True:
        try:
            with installation.begin() as uow:
                claim(uow)
            break
        except ports.DependencyDown:
            failures += 1
    assert failures <= 3


def test_a_process_that_was_stopped_for_too_long_begins_anew(
    database: sqlalchemy.Engine, installation: installations.PostgresInstallation
) -> None:
    with installation.begin() as uow:
        cursor_of(uow).execute("SET LOCAL idle_in_transaction_session_timeout = '20ms'")
        pid = cursor_of(uow).connection.info.backend_pid
        waiting.wait_until(lambda: not _is_connected(database, pid))
        with pytest.raises(ports.Retryable):
            claim(uow)


def _is_connected(database: sqlalchemy.Engine, pid: int) -> bool:
    query = sqlalchemy.text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid")
    with database.connect() as connection:
        return bool(connection.execute(query, {"pid": pid}).scalar_one())


def test_a_unit_of_work_that_is_given_up_does_not_mind_a_broken_connection(
    database: sqlalchemy.Engine, installation: installations.PostgresInstallation
) -> None:
    with installation.begin() as uow:
        uow.positions([])
        kill_connections(database)


def test_a_lock_that_is_not_let_go_is_a_conflict(installation: installations.PostgresInstallation) -> None:
    with installation.begin() as holder, installation.begin() as uow:
        claim(holder)
        cursor_of(uow).execute("SET LOCAL lock_timeout = '20ms'")
        with pytest.raises(ports.Retryable, match="lock timeout") as caught:
            claim(uow)
    assert not isinstance(caught.value, ports.DependencyDown)


def test_a_server_that_may_only_be_read_is_an_outage(installation: installations.PostgresInstallation) -> None:
    with installation.begin() as uow:
        cursor_of(uow).execute("SET TRANSACTION READ ONLY")
        with pytest.raises(ports.DependencyDown, match="read-only"):
            claim(uow)


def test_a_server_that_is_not_there_is_an_outage() -> None:
    nowhere = engine.create("postgresql+psycopg2://nobody@127.0.0.1:1/nothing")
    with pytest.raises(ports.DependencyDown), postgres.PostgresUnitOfWork(nowhere, journal_topic="journal"):
        pass


def test_a_session_that_is_another_one_is_an_outage_and_the_next_attempt_prepares_anew(
    installation: installations.PostgresInstallation,
) -> None:
    """As behind a pooler that hands sessions out by transaction."""
    with installation.begin() as uow:
        claim(uow)
    with installation.begin() as uow:
        cursor_of(uow).execute("DEALLOCATE ALL")
        with pytest.raises(ports.DependencyDown, match="pool_mode = session"):
            claim(uow)
    with installation.begin() as uow:
        claim(uow)


def test_a_column_that_has_another_type_now_is_a_conflict_and_the_next_attempt_prepares_anew(
    database: sqlalchemy.Engine, installation: installations.PostgresInstallation
) -> None:
    with installation.begin() as uow:
        claim(uow)
    with database.begin() as connection:
        connection.execute(sqlalchemy.text("ALTER TABLE inbox ALTER COLUMN outcome TYPE text"))
    with installation.begin() as uow, pytest.raises(ports.Retryable) as caught:
        claim(uow)
    assert not isinstance(caught.value, ports.DependencyDown)
    with installation.begin() as uow:
        claim(uow)


def test_plans_are_kept_for_few_messages_alone(installation: installations.PostgresInstallation) -> None:
    """A plan for the rows that a table had would be the wrong one for those that a backlog adds."""
    with installation.begin() as uow:
        uow.claim([builders.a_message(builders.an_allocate()) for _ in range(101)])
        assert prepared_statements(uow) == []
        claim(uow)
        assert len(prepared_statements(uow)) == 1


def test_plans_are_made_anew_after_a_while(
    installation: installations.PostgresInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    has = prepared.Prepared()
    assert has.planning_anew() == ""
    monkeypatch.setattr(prepared, "_PLANS_LAST_S", 0.0)
    assert has.planning_anew() == "DISCARD PLANS; "
    for _ in range(2):
        with installation.begin() as uow:
            claim(uow)


def prepared_statements(uow: unit_of_work.MessageUnitOfWork) -> list[str]:
    """Return what the connection has prepared for the inbox."""
    cursor = cursor_of(uow)
    cursor.execute("SELECT statement FROM pg_prepared_statements WHERE strpos(statement, 'inbox') > 0")
    return [statement for (statement,) in cursor]


def test_what_the_server_takes_for_no_number_is_a_conflict_only_if_it_is_our_reason(
    installation: installations.PostgresInstallation,
) -> None:
    with installation.begin() as uow:
        changes = writes.Writes(cursor_of(uow))
        changes.change("DELETE FROM locks", (), rows=7, otherwise="seven are to be deleted")
        with pytest.raises(ports.Retryable, match="seven are to be deleted"):
            changes.finish("COMMIT")
    with installation.begin() as uow:
        changes = writes.Writes(cursor_of(uow))
        changes.change("DELETE FROM locks WHERE 1 = (name || %s)::int", ("no number",), rows=0, otherwise="none")
        claim(uow)
        with pytest.raises(psycopg2.errors.InvalidTextRepresentation, match="no number"):
            changes.finish("COMMIT")


def test_an_error_that_nobody_thought_of_is_left_as_it_is(installation: installations.PostgresInstallation) -> None:
    with installation.begin() as uow:
        uow.send(messages.OutboxMessage("topic", b"", b"", (), sku="NUL \0"))
        with pytest.raises(Exception, match=r"null character|0x00") as caught:
            uow.commit()
    assert not isinstance(caught.value, ports.Retryable)


@pytest.mark.parametrize("count", [1, 100])  # many go by COPY
def test_the_journals_row_is_in_the_outbox_before_what_it_covers(
    database: sqlalchemy.Engine, installation: installations.PostgresInstallation, count: int
) -> None:
    with installation.begin() as uow:
        for _ in range(count):
            uow.send(messages.OutboxMessage("line_allocated", b"LAMP", b"", ()))
        uow.journal(ENTRIES, oldest_ms=17)
        uow.commit()
        now = uow.now
    with database.connect() as connection:
        stored = connection.execute(sqlalchemy.text("SELECT * FROM journal")).one()
        sent = connection.execute(sqlalchemy.text("SELECT topic, key, value, headers FROM outbox ORDER BY id")).all()
    assert [tuple(entry) for entry in stored.entries] == ENTRIES
    assert (stored.version, stored.handled_at) == (allocation.__version__, now)
    assert [row.topic for row in sent] == [installations.NAMES.journal, *["line_allocated"] * count]
    assert bytes(sent[0].key) == str(stored.number).encode()
    assert sent[0].headers == '[["allocation_commands_since", "17"]]'
    assert json.loads(bytes(sent[0].value)) == {
        "number": stored.number,
        "handled_at": now.isoformat(),
        "version": allocation.__version__,
        "entries": [list(entry) for entry in ENTRIES],
    }


def test_a_commit_tells_the_relay_once_and_a_rollback_not_at_all(
    database: sqlalchemy.Engine, installation: installations.PostgresInstallation
) -> None:
    with notifications.Listener(database) as listener:
        listener.wait(0)
        with installation.begin() as uow:
            claim(uow)
        assert not listener.wait(0)
        with installation.begin() as uow:
            claim(uow)
            uow.commit()
        assert listener.wait(5)
        assert not listener.wait(0)


def park(installation: installations.PostgresInstallation, *given: unit_of_work.ParkedCommand) -> None:
    with installation.begin() as uow:
        uow.claim([parked.message for parked in given])
        for parked in given:
            uow.park(parked)
        uow.commit()


def a_parked(sku: str, *, state: str = "waiting") -> unit_of_work.ParkedCommand:
    message = builders.a_message(builders.an_allocate(sku=sku))
    expires_at = None if state == "poisoned" else builders.NOW
    return unit_of_work.ParkedCommand(f"sku:{sku}", state, message, "reason", "error", expires_at)


def test_a_long_queue_behind_a_poisoned_command_hides_no_other_whose_grace_is_over(
    database: sqlalchemy.Engine, installation: installations.PostgresInstallation
) -> None:
    room = waiting_room.PostgresWaitingRoom(database)
    park(installation, a_parked("LAMP", state="poisoned"), *(a_parked("LAMP", state="queued") for _ in range(20)))
    park(installation, first := a_parked("VASE"), a_parked("VASE", state="queued"))
    found = room.overdue(NEVER, limit=10)
    assert [parked.message for parked in found] == [first.message]


def test_only_what_is_overdue_by_then_is_found_the_oldest_first_up_to_a_limit(
    database: sqlalchemy.Engine, installation: installations.PostgresInstallation
) -> None:
    room = waiting_room.PostgresWaitingRoom(database)
    given = [a_parked(sku) for sku in ("C", "A", "B")]
    park(installation, *given)
    assert room.overdue(builders.NOW - datetime.timedelta(seconds=1), limit=10) == []
    assert [parked.message for parked in room.overdue(builders.NOW, limit=2)] == [one.message for one in given[:2]]


def test_the_waiting_room_knows_the_time_and_how_far_logs_are_handled(
    database: sqlalchemy.Engine, installation: installations.PostgresInstallation
) -> None:
    room = waiting_room.PostgresWaitingRoom(database)
    processor = installations.a_processor(installation.begin)
    processor.process([builders.a_record(b"no Avro", offset=4), builders.a_record(None, partition=1, offset=7)])
    topic_id = "id of allocate"
    assert room.next_offsets() == {
        messages.LogPartition(topic_id, 0): 5,
        messages.LogPartition(topic_id, 1): 8,
    }
    assert room.now().tzinfo is not None


def test_whatever_an_exception_says_can_be_parked(installation: installations.PostgresInstallation) -> None:
    with installation.begin() as uow:
        parked = a_parked("LAMP", state="poisoned")
        odd = unit_of_work.ParkedCommand(parked.queue, "poisoned", parked.message, "failed", r"a\0b\ud800 ü\N", None)
        uow.claim([odd.message])
        uow.park(odd)
        uow.commit()
    assert [error for *_, error in installation.contents().parked] == [r"a\0b\ud800 ü\N"]
