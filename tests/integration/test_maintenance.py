"""Old rows are taken out of tables that are in use, and nothing grows without bound."""

from __future__ import annotations

import itertools
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy

from allocation import bootstrap, config
from allocation.adapters.postgres import audit_rows, figures, operator_work, parked_room, pruning, quarantined, tables
from allocation.domain import commands
from allocation.service_layer import envelopes, failures, messages, ports
from allocation.service_layer.operations import audit, maintenance, parked
from tests import builders, installations, waiting
from tests.fakes import serde

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VALUES = serde.FakeSerde()
STOCK = commands.CreateBatch("b1", "LAMP", 1000)
LONG_S = 3600.0
NOTE = audit.Note("jane", "for good")
WAVERING = 1.1  # of a table of fifty pages, two or three are found free at one time and not at another
PAGE_BYTES = 8192
# They are the identities. As texts, too, the later ones come last: an index with a gap in between would be larger.
_OFFSETS = itertools.count(1_000_000)


class Letters:
    """A dead-letter topic with one partition, of which retention takes more and more."""

    first = 10

    def begins(self) -> tuple[str, Sequence[int]]:
        return "letters", (self.first,)


class World:
    def __init__(self, database: sqlalchemy.Engine) -> None:
        self.database = database
        self.installation = installations.PostgresInstallation(database)
        self.installation.empty()
        with database.begin() as connection:
            for table in (tables.audit, tables.dead_letter_decisions, tables.prunings):
                connection.execute(table.delete())
        self.processor = installations.a_processor(self.installation.begin, grace_s=0)
        self.letters = Letters()
        self.parked = parked.ParkedCommands(
            room=parked_room.PostgresParkedRoom(database),
            begin=lambda: operator_work.PostgresOperatorUnitOfWork(database, journal_topic=installations.NAMES.journal),
            envelopes=envelopes.Envelopes(topics=installations.NAMES, serializer=VALUES),
            grace=timedelta(0),
        )

    def take(self, *given: commands.Command) -> None:
        self.processor.process([a_record(command) for command in given])

    def poison(self, command: commands.Command) -> None:
        self.processor.set_aside(a_record(command), failure=failures.Failure("TypeError: a bug"))

    def maintain(self, *, age_s: float = 0.0, dry_run: bool = False) -> dict[str, int]:
        """Prune what is older than that; return how many rows of which table went."""
        return {one.name: one.rows for one in self.maintenance(age_s=age_s).run(threading.Event(), dry_run=dry_run)}

    def maintenance(self, **ages_s: float) -> maintenance.Maintenance:
        age_s = ages_s["age_s"]
        return maintenance.Maintenance(
            rows=pruning.PostgresRows(self.database),
            letters=self.letters,
            parked=self.parked,
            retention=maintenance.Retention(inbox_s=age_s, journal_s=age_s, audit_s=age_s, parked_s=age_s),
        )

    def count(self, table: sqlalchemy.Table) -> int:
        with self.database.connect() as connection:
            return int(connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(table)).scalar_one())

    def asked_for_leases(self) -> int:
        """Return how many connections there are whose last question was about a lease."""
        asked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%INTO leases%' AND pid <> pg_backend_pid()"
        with self.database.connect() as connection:
            return int(connection.execute(sqlalchemy.text(asked)).scalar_one())

    def execute(self, statement: str, values: Mapping[str, Any] | None = None) -> None:
        with self.database.begin() as connection:
            connection.execute(sqlalchemy.text(statement), values or {})


@pytest.fixture
def world(shared_database: sqlalchemy.Engine) -> World:
    return World(shared_database)


def a_record(command: commands.Command) -> messages.Record:
    name = type(command).__name__
    value = VALUES.serialize(name, envelopes.command_fields(command))
    return builders.a_record(value, topic=installations.NAMES.commands[name], offset=next(_OFFSETS))


def test_what_is_old_goes_and_what_is_needed_stays(world: World) -> None:
    world.take(STOCK, builders.an_allocate(), builders.an_allocate(sku="UNKNOWN"))
    world.take(builders.an_allocate())
    world.poison(builders.an_allocate(sku="BROKEN"))
    world.execute("INSERT INTO audit (who, what, subject, why) VALUES ('jane', 'tested', 'it', 'for good')")
    world.execute("""
        INSERT INTO dead_letter_decisions
        SELECT topic_id, 0, "offset", 'discarded', now(), 'jane', 'for good'
        FROM (VALUES ('letters', 9), ('letters', 10), ('of a former topic', 10)) AS letter (topic_id, "offset")
    """)

    assert world.maintain(age_s=LONG_S) == {
        "inbox": 0, "journal": 0, "audit": 0, "locks": 1, "parked": 0, "dead_letter_decisions": 2,
    }  # fmt: skip

    would_go = world.maintain(dry_run=True)
    assert world.count(tables.audit) == 1
    assert world.maintain() == would_go == {
        "inbox": 4, "journal": 2, "audit": 1, "locks": 0, "parked": 1, "dead_letter_decisions": 0,
    }  # fmt: skip
    contents = world.installation.contents()
    assert contents.parked == []
    assert [entry.outcome for entry in contents.inbox.values()] == ["refused"]  # what was parked until now
    (discarded,) = audit_rows.AuditLog(world.database).rows(since=None, limit=None)
    assert (discarded.who, discarded.what) == ("maintenance", "parked.discarded")
    assert "dead_letter_reason" in dict(contents.outbox[-1].headers)
    with world.database.connect() as connection:
        assert set(connection.scalars(sqlalchemy.select(tables.locks.c.name))) >= {"ref:b1", "sku:LAMP"}
        assert set(connection.scalars(sqlalchemy.select(tables.prunings.c.name))) == {
            "inbox", "journal", "audit", maintenance.EVERYTHING,
        }  # fmt: skip


def test_when_everything_was_last_gone_through_is_known(world: World) -> None:
    look = figures.DatabaseFigures(world.database)
    world.maintain(dry_run=True)
    stop = threading.Event()
    stop.set()
    list(world.maintenance(age_s=0.0).run(stop))
    assert look().maintained_at is None
    world.maintain()
    first = look().maintained_at
    world.maintain()
    second = look().maintained_at
    assert first
    assert second
    assert second > first


def test_a_duplicate_is_recognised_until_its_entry_is_pruned_and_the_position_holds_for_ever(world: World) -> None:
    shrink = commands.ChangeBatchQuantity("b1", 7)
    record = a_record(shrink)._replace(headers=(("ce_id", b"one"),))
    world.take(STOCK)
    world.processor.process([record])
    world.take(commands.ChangeBatchQuantity("b1", 70))
    world.processor.process([record._replace(offset=record.offset + 1000)])
    assert world.installation.contents().batches["b1"].purchased == 70

    world.maintain()
    world.processor.process([record])
    assert world.installation.contents().batches["b1"].purchased == 70
    world.processor.process([record._replace(offset=record.offset + 2000)])
    assert world.installation.contents().batches["b1"].purchased == 7


def test_rows_that_somebody_holds_are_not_waited_for(world: World) -> None:
    world.take(STOCK, builders.an_allocate(), builders.an_allocate(sku="UNKNOWN"))
    with world.database.connect() as holder:
        holder.execute(sqlalchemy.text("SELECT FROM inbox LIMIT 1 FOR UPDATE"))
        holder.execute(sqlalchemy.text("SELECT FROM locks FOR UPDATE"))
        gone = world.maintain()
        assert (gone["inbox"], gone["locks"]) == (2, 0)
        holder.rollback()
    gone = world.maintain()
    assert (gone["inbox"], gone["locks"]) == (1, 1)


def test_an_entry_that_is_pruned_while_a_redriven_command_is_handled_is_written_all_the_same(world: World) -> None:
    refused = a_record(builders.an_allocate())._replace(headers=(("ce_id", b"one"),))
    world.processor.process([refused])
    message = world.processor._reader.read(refused)  # noqa: SLF001 - the same message
    entry = next(iter(world.installation.contents().inbox.values()))
    with world.installation.begin() as uow:
        uow.claim([message])
        uow.record(entry)
        world.maintain()
        with pytest.raises(ports.Retryable, match="pruned while it was in use"):
            uow.commit()


def test_it_ends_early_when_it_is_told_to(world: World) -> None:
    world.take(STOCK)
    stop = threading.Event()
    stop.set()
    assert sum(one.rows for one in world.maintenance(age_s=0.0).run(stop)) == 0
    assert world.count(tables.inbox) == 1


def test_a_long_stream_leaves_no_table_larger_than_a_short_one(world: World) -> None:
    """The same orders and quantities over and over, and names that nobody knows; VACUUM is the server's own part."""
    for table in tables.metadata.tables:  # while the server looks at a table by itself, VACUUM leaves what it may see
        world.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    world.take(STOCK)
    sizes = [_sizes_after_a_round(world, number) for number in range(11)]
    allowed = {name: max(size * WAVERING, size + PAGE_BYTES) for name, size in sizes[2].items()}
    grown = {name: (sizes[2][name], size) for name, size in sizes[-1].items() if size > allowed[name]}
    assert grown == {}


def _sizes_after_a_round(world: World, number: int) -> dict[str, int]:
    for quantity in (900, 1000):
        orders = [builders.an_allocate(orderid=f"order-{index}") for index in range(300)]
        strangers = [builders.an_allocate(sku=f"unknown-{number}-{quantity}-{index}") for index in range(100)]
        world.take(commands.ChangeBatchQuantity("b1", quantity), *orders, *strangers)
        note = audit.Entry("test", f"round {number}", NOTE)
        with operator_work.PostgresOperatorUnitOfWork(world.database, journal_topic="journal") as uow:
            uow.write_audit([note] * 100)
            uow.commit()
    _set_commands_aside(world, number)
    _decide_on_dead_letters(world)
    _quarantine_events(world)
    world.maintain()
    with world.database.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        sizes = {}
        for table in tables.metadata.tables:
            connection.exec_driver_sql(f"VACUUM {table}")
            sizes[table] = connection.exec_driver_sql(f"SELECT pg_total_relation_size('{table}')").scalar_one()
        return sizes


def _set_commands_aside(world: World, number: int) -> None:
    """Poison commands, with others behind them, that are released, discarded, or left to maintenance."""
    skus = [f"{index}-{number}-".ljust(200, "x") for index in range(12)]  # so long that a few rows fill a page
    for sku in skus:
        world.poison(builders.an_allocate(sku=sku))
    world.take(*(builders.an_allocate(orderid=f"behind-{index}", sku=sku) for index in range(3) for sku in skus))
    for sku in skus[:4]:
        world.parked.release(f"sku:{sku}", NOTE)
    poisoned = world.parked.find(parked.Filter(queues=[f"sku:{sku}" for sku in skus[4:8]], states=["poisoned"]))
    world.parked.discard([one.parked for one in poisoned], NOTE)
    assert len(world.parked.find(parked.Filter())) == 4 * 4


def _decide_on_dead_letters(world: World) -> None:
    """Have an operator decide on dead letters that retention takes afterwards."""
    first, world.letters.first = world.letters.first, world.letters.first + 100
    world.execute(
        """
        INSERT INTO dead_letter_decisions
        SELECT 'letters', 0, "offset", 'discarded', now(), 'jane', 'for good'
        FROM generate_series(:first, :last) AS "offset"
        """,
        {"first": first, "last": world.letters.first - 1},
    )


def _quarantine_events(world: World) -> None:
    """Have Kafka refuse some messages until an operator releases them; a relay deletes what is sent."""
    world.execute("UPDATE outbox SET quarantined = 'too large' WHERE id < (SELECT min(id) + 50 FROM outbox)")
    world.execute("DELETE FROM outbox WHERE quarantined IS NULL")
    quarantine = quarantined.Quarantine(world.database)
    released = quarantine.release([row.id for row in quarantine.rows(limit=None)], NOTE, dry_run=False)
    assert released.rows >= 20
    world.execute("DELETE FROM outbox WHERE quarantined IS NULL")


def test_who_waits_for_the_next_time_is_not_connected(world: World) -> None:
    settings = config.load(database_url=world.database.url.render_as_string(hide_password=False))
    with bootstrap.maintenance_turn(settings) as turn:
        assert turn.acquire()
        waiting.wait_until(lambda: world.asked_for_leases() == 0)
        turn.release()


def test_operators_see_what_was_changed_from_a_time_on(world: World) -> None:
    world.execute("INSERT INTO audit (at, who, what, subject, why) VALUES ('2020-01-01Z', 'joe', 'old', 'it', 'so')")
    world.execute("INSERT INTO audit (who, what, subject, why) VALUES ('jane', 'new', 'it', 'so')")
    log = audit_rows.AuditLog(world.database)
    assert [row.what for row in log.rows(since=None, limit=None)] == ["old", "new"]
    assert [row.what for row in log.rows(since=None, limit=1)] == ["new"]
    assert [row.what for row in log.rows(since=builders.NOW.replace(year=2021), limit=None)] == ["new"]
