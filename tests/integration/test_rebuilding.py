"""A rebuild of a real installation: from its topics into another schema, compared by SQL, and swapped in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import sqlalchemy

from allocation import bootstrap
from allocation.adapters.kafka import clients as kafka
from allocation.adapters.kafka import log_reader
from allocation.adapters.postgres import audit_rows, tables
from allocation.bootstrap import rebuilding
from allocation.service_layer.operations import audit, parked
from allocation.service_layer.operations.replay import ports
from tests import databases, kafka_logs
from tests.integration import operator_commands, settled, test_parked_operation

if TYPE_CHECKING:
    from datetime import datetime

    from allocation import config, devstack
    from allocation.service_layer.operations.replay import rebuilding as operation

NOTE = audit.Note("jane", "the live one was damaged")
# Left out are the inbox's times (those of the rebuild: from then on it is kept), and what the journal does not tell:
# why something failed, and positions, since the live ones may stand behind the ends of transactions.
_OF_INBOX = ("id", "source", "attempt", "digest", "outcome", "result", "topic", "partition", "offset")
_OF_PARKED = ("queue", "message_source", "message_id", "attempt", "topic", "partition", "offset")
COMPARED = {
    **{
        table.name: table.select().order_by(*table.primary_key)
        for table in (tables.products, tables.batches, tables.order_lines)
    },
    "inbox": sqlalchemy.select(*(tables.inbox.c[name] for name in _OF_INBOX)).order_by(*tables.inbox.primary_key),
    "parked": sqlalchemy.select(*(tables.parked.c[name] for name in _OF_PARKED)).order_by("queue", tables.parked.c.id),
}

ORDERS: list[settled.Given] = [
    *settled.ORDERS,
    ("Allocate", {"orderid": "o7", "sku": "NEVER", "qty": 1}, "order-7"),  # waits, and expires
    ("Allocate", {"orderid": "o8", "sku": "TABLE", "qty": 1}, "order-8"),  # waits, and is discarded
]
LATER: list[settled.Given] = [
    ("ChangeBatchQuantity", {"batchref": "early", "qty": 5, "sku": "CHAIR"}, "shrink"),
    ("CreateBatch", {"ref": "lamps", "sku": "LAMP", "qty": 2, "eta": None}, "stock-3"),
]


CURSED: list[settled.Given] = [
    ("Allocate", {"orderid": "cursed", "sku": "LAMP", "qty": 1}, "order-c"),  # meets a bug, and is released
    ("Allocate", {"orderid": "behind", "sku": "LAMP", "qty": 1}, "order-d"),  # keeps its place behind that
]


class Filled(NamedTuple):
    """An installation, and what was in it when half of its commands were handled."""

    settings: config.Settings
    midway: datetime
    rows_then: dict[str, list[Any]]


@pytest.fixture
def installation(initialised: config.Settings, monkeypatch: pytest.MonkeyPatch) -> Filled:
    """An installation at rest in which timers and an operator have decided, and one command still waits."""
    patient = initialised.model_copy(update={"grace_s": 600.0, "max_retries": 0})
    with settled.running(patient):
        settled.send(patient, settled.STOCK)
        settled.wait_until_settled(patient, seen=2)
        settled.send(patient, ORDERS)
        settled.wait_until_settled(patient, seen=11, parked=3)
        settled.send(patient, LATER)
        settled.wait_until_settled(patient, seen=13, parked=2)
        (midway,) = column(patient, "SELECT max(handled_at) FROM journal")
        rows_then = rows(patient, "public")
        _discard(patient, "sku:TABLE")
        with monkeypatch.context() as patch:
            test_parked_operation.curse(patch, "cursed")
            settled.send(patient, CURSED)
            settled.wait_until_settled(patient, seen=15, parked=3)
        with bootstrap.parked_commands(patient) as operator:
            operator.release("sku:LAMP", audit.Note("jane", "the bug is mended"))
    _expire(patient)
    with settled.running(patient):
        settled.wait_until_settled(patient, seen=15)
        settled.send(patient, [("Allocate", {"orderid": "o9", "sku": "SOFA", "qty": 1}, "order-9")])  # waits
        settled.wait_until_settled(patient, seen=16, parked=1)
    return Filled(patient, midway, rows_then)


def _discard(settings: config.Settings, queue: str) -> None:
    with bootstrap.parked_commands(settings) as operator:
        found = operator.find(parked.Filter(queues=[queue]))
        operator.discard([one.parked for one in found], audit.Note("jane", "never meant"))


def _expire(settings: config.Settings) -> None:
    execute(settings, "UPDATE parked SET expires_at = now()")


def rebuild(settings: config.Settings, **wish: Any) -> operation.Summary:
    with rebuilding.rebuilder(settings, rebuilding.Wish(**wish)) as rebuilder:
        return rebuilder.run(rebuilder.plan(_ignore), _ignore)


def differences(settings: config.Settings, schema: str) -> list[str]:
    found = rebuilding.compare_rebuilt(settings, schema, database_url=None, keep=10, on_progress=_ignore)
    return [str(one) for one in found.differences]


def promote(settings: config.Settings, schema: str) -> str:
    return rebuilding.promote_rebuilt(settings, schema, NOTE, dry_run=False, on_progress=_ignore).old


def rows(settings: config.Settings, schema: str) -> dict[str, list[Any]]:
    with bootstrap.database(settings) as engine, engine.connect() as connection:
        connection.exec_driver_sql(f"SET search_path = {schema}")
        return {name: list(connection.execute(query)) for name, query in COMPARED.items()}


def execute(settings: config.Settings, *statements: str) -> None:
    with bootstrap.database(settings) as engine, engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def column(settings: config.Settings, query: str) -> list[Any]:
    with bootstrap.database(settings) as engine, engine.connect() as connection:
        return list(connection.scalars(sqlalchemy.text(query)))


def announced(settings: config.Settings, topic: str) -> list[Any]:
    """What is on a topic, by key: everything but the place."""
    found = log_reader.LogReader(kafka.ClientConfig(settings.kafka_bootstrap_servers, {})).read([topic])
    return sorted((one.key, one.value, one.headers) for one in found)


def _ignore(_what: str, _done: int, _total: int) -> None:
    pass


def check_that_each_row_of_the_journal_is_needed(settings: config.Settings, schema: str) -> None:
    """Numbers commit out of order: one below the highest may be missing."""
    execute(settings, f"DELETE FROM {schema}.journal WHERE number = 2")
    with pytest.raises(ports.CannotReplay, match=rf"has done what {schema} has not \(1 rows"):
        promote(settings, schema)
    execute(settings, f"INSERT INTO {schema}.journal SELECT * FROM public.journal WHERE number = 2")


def contents(settings: config.Settings) -> dict[str, list[Any]]:
    """All rows of all tables in all schemas but the system's."""
    named = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'"
    return {name: sorted(column(settings, f"SELECT t::text FROM {name} AS t")) for name in column(settings, named)}


def check_that_a_promotion_that_fails_changes_nothing(settings: config.Settings, schema: str) -> None:
    """The audit is written last, when all tables have changed their places."""
    before = contents(settings)
    assert {f"{schema}.journal", "public.journal"} <= before.keys()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit_rows, "write", _fail)
        with pytest.raises(LookupError, match="no audit"):
            promote(settings, schema)
    assert contents(settings) == before


def _fail(_cursor: object, _entries: object) -> None:
    msg = "no audit"
    raise LookupError(msg)


def check_that_it_gives_the_rows_of_any_time_and_goes_on_from_there(installation: Filled, schema: str) -> None:
    filled, midway, rows_then = installation
    prefix = f"{kafka_logs.a_name()}."
    rebuilding_it = ("replay", "rebuild", "--into", schema, "--outbound", prefix)
    command_line = operator_commands.Commands(filled)
    assert rows_then != rows(filled, "public")
    (until_then,) = command_line.lines(*rebuilding_it, "--until", midway.isoformat(), "--json")
    assert rows(filled, schema) == rows_then
    (the_rest,) = command_line.lines(*rebuilding_it, "--json")
    assert rows(filled, schema) == rows(filled, "public")
    assert min(until_then["rows"], the_rest["rows"]) > 0
    assert [until_then["rows"] + the_rest["rows"]] == column(filled, "SELECT count(*) FROM journal")
    for topic in ("line_allocated", "line_deallocated", "out_of_stock"):
        assert announced(filled, f"{prefix}{filled.topic_prefix}{topic}") == announced(
            filled, filled.topic_prefix + topic
        )


def check_that_it_may_be_in_another_database(settings: config.Settings, endpoints: devstack.Endpoints) -> None:
    with databases.fresh(endpoints) as database:
        url = database.url.render_as_string(hide_password=False)
        done = operator_commands.Commands(settings).run(
            "replay", "rebuild", "--into", "elsewhere", "--database-url", url, "--compare"
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("rows compared, 0 differ\n")
        there = settings.model_copy(update={"database_url": url})
        assert rows(there, "elsewhere") == rows(settings, "public")
    assert column(settings, "SELECT to_regnamespace('elsewhere')") == [None]


def test_a_rebuild_gives_the_live_rows_each_time_and_takes_their_place(
    installation: Filled, endpoints: devstack.Endpoints
) -> None:
    filled = installation.settings
    command_line = operator_commands.Commands(filled)
    planned = command_line.lines("replay", "rebuild", "--into", "first", "--dry-run", "--json")
    assert [(line["records"], line["exact"]) for line in planned] == [(21, True)]
    summary = rebuild(filled, into="first")
    assert summary.is_exact
    assert summary.counts == {
        "handled": 7, "duplicate": 1, "refused": 2, "waited": 4, "poisoned": 1, "queued": 1, "released": 3,
        "expired": 1, "discarded": 1,
    }  # fmt: skip
    assert (summary.uncovered, rows(filled, "first")) == (0, rows(filled, "public"))
    assert rows(filled, "first")["products"] != []
    check_that_it_gives_the_rows_of_any_time_and_goes_on_from_there(installation, "second")
    assert column(filled, "SELECT count(*) FROM first.outbox UNION ALL SELECT count(*) FROM second.outbox") == [0, 0]
    check_that_it_may_be_in_another_database(filled, endpoints)

    execute(
        filled,
        "UPDATE batches SET purchased = 99 WHERE reference = 'late'",
        "DELETE FROM order_lines WHERE sku = 'CHAIR'",
    )
    assert differences(filled, "first") == [
        "batch late: live purchased 99; rebuilt purchased 4",
        "order o1, 3 of CHAIR: live is not there; rebuilt batchref early, place 0",
        "order o2, 3 of CHAIR: live is not there; rebuilt batchref late, place 0",
    ]
    assert command_line.run("replay", "compare", "nowhere").returncode == 2
    with settled.running(filled):
        settled.send(filled, [("Allocate", {"orderid": "o10", "sku": "LAMP", "qty": 1}, "order-10")])
        settled.wait_until_settled(filled, seen=17, parked=1)
        with pytest.raises(ports.CannotReplay, match=r"in use: .*relay-0"):
            promote(filled, "first")
    with pytest.raises(ports.CannotReplay, match="has done what first has not"):
        promote(filled, "first")
    caught_up = command_line.run("replay", "rebuild", "--into", "first", "--compare")
    assert caught_up.returncode == 1
    assert caught_up.stdout.startswith("first: 1 handled; 1 events")
    assert "3 differ" in caught_up.stdout

    check_that_each_row_of_the_journal_is_needed(filled, "first")
    execute(filled, *(f"INSERT INTO {schema}.releases (queue) VALUES ('sku:SOFA')" for schema in ("public", "first")))
    rebuilt, live = rows(filled, "first"), rows(filled, "public")
    assert "would be live" in command_line.run("replay", "promote", "first", "--why", "damage", "--dry-run").stdout
    check_that_a_promotion_that_fails_changes_nothing(filled, "first")
    old = promote(filled, "first")
    assert (rows(filled, "public"), rows(filled, old)) == (rebuilt, live)
    assert column(filled, "SELECT what FROM audit ORDER BY id") == [
        "parked.discarded",
        "parked.released",
        "replay.promoted",
    ]
    with settled.running(filled):
        settled.send(filled, [("CreateBatch", {"ref": "sofas", "sku": "SOFA", "qty": 1, "eta": None}, "stock-4")])
        settled.wait_until_settled(filled, seen=18)
    with bootstrap.verification(filled) as verification:
        assert verification.run(keep=5, on_progress=_ignore).findings == []

    kafka_logs.delete_records(endpoints, bootstrap.topic_names(filled).journal, before=3)
    by_time = command_line.run("replay", "rebuild", "--into", "second", "--fresh")
    assert "second: " in by_time.stdout
    assert "is not promised" in by_time.stderr
    with pytest.raises(ports.CannotReplay, match="order of timestamps"):
        promote(filled, "second")
