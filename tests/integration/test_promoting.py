"""A rebuild that is put in the place of the live tables by the same command, or is not, and what is told of it."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy

from allocation import bootstrap, views
from allocation.adapters.postgres import engine as postgres
from allocation.bootstrap import rebuilding
from allocation.service_layer.operations import audit
from tests import kafka_logs
from tests.integration import command_line, operator_commands, settled, test_parked_operation

if TYPE_CHECKING:
    from allocation import config, devstack

SHORT_S = 1
NOTE = audit.Note("jane", "a drill")
WHY = ("--why", "somebody changed stock by hand", "--who", "jane")
CURSED: settled.Given = ("Allocate", {"orderid": "cursed", "sku": "CHAIR", "qty": 1}, "order-c")
ANOTHER: settled.Given = ("CreateBatch", {"ref": "later", "sku": "TABLE", "qty": 1, "eta": None}, "stock-3")


@pytest.fixture
def installation(initialised: config.Settings, monkeypatch: pytest.MonkeyPatch) -> config.Settings:
    """An installation at rest, with stock, and with an order that met a bug and is parked."""
    settings = initialised.model_copy(update={"max_retries": 0})
    with settled.running(settings), monkeypatch.context() as patch:
        settled.send(settings, settled.STOCK)
        settled.wait_until_settled(settings, seen=2)
        test_parked_operation.curse(patch, "cursed")
        settled.send(settings, [CURSED])
        settled.wait_until_settled(settings, seen=3, parked=1)
    return settings


@pytest.fixture
def cli(installation: config.Settings) -> operator_commands.Commands:
    return operator_commands.Commands(installation)


def promoting(into: str, *more: str) -> tuple[str, ...]:
    return ("replay", "rebuild", "--into", into, "--promote", *WHY, *more)


def column(settings: config.Settings, query: str) -> list[Any]:
    with bootstrap.database(settings) as engine, engine.connect() as connection:
        return list(connection.scalars(sqlalchemy.text(query)))


def exists(settings: config.Settings, schema: str) -> bool:
    return column(settings, f"SELECT to_regnamespace('{schema}') IS NOT NULL") == [True]


def damage(settings: config.Settings) -> None:
    with bootstrap.database(settings) as engine, engine.begin() as connection:
        connection.exec_driver_sql("UPDATE batches SET purchased = 99 WHERE reference = 'late'")


def purchased(settings: config.Settings) -> list[int]:
    return column(settings, "SELECT purchased FROM batches WHERE reference IN ('early', 'late') ORDER BY reference")


def audited(settings: config.Settings) -> list[str]:
    return column(settings, "SELECT who || ' ' || what || ': ' || why FROM audit ORDER BY id")


def test_what_stands_against_a_promotion_is_told_before_anything_is_rebuilt(
    installation: config.Settings, endpoints: devstack.Endpoints
) -> None:
    cli = command_line.CommandLine(installation)
    with settled.running(installation):
        settled.wait_until_settled(installation, seen=3, parked=1)
        in_use = cli.run(*promoting("first"))
    assert (in_use.returncode, exists(installation, "first")) == (1, False)
    assert "the database is in use: " in in_use.stderr

    with settled.running(installation, is_relaying=False):
        settled.send(installation, [ANOTHER])
        settled.wait_until_settled(installation, seen=4, parked=1, is_relayed=False)
    unsent = cli.run(*promoting("first"))
    assert (unsent.returncode, exists(installation, "first")) == (1, False)
    assert "messages in the outbox are not sent yet" in unsent.stderr

    with settled.running(installation):
        settled.wait_until_settled(installation, seen=4, parked=1)
    kafka_logs.delete_records(endpoints, bootstrap.topic_names(installation).journal, before=1)
    without_journal = cli.run(*promoting("first"))
    assert (without_journal.returncode, exists(installation, "first")) == (1, False)
    assert "first goes by the order of timestamps" in without_journal.stderr
    assert audited(installation) == []


def test_a_rebuild_that_differs_is_promoted_only_when_nobody_asks_for_a_comparison(
    installation: config.Settings, cli: operator_commands.Commands
) -> None:
    damage(installation)
    differing = cli.run(*promoting("first", "--compare"))
    assert (differing.returncode, purchased(installation), audited(installation)) == (1, [10, 99], [])
    assert "batch late: live purchased 99; rebuilt purchased 4" in differing.stdout
    assert "first is not promoted: it differs from the live one; `allocation replay promote first`" in differing.stderr

    rebuilt, promoted = cli.lines(*promoting("first", "--json"))
    assert (rebuilt["into"], promoted["promoted"], purchased(installation)) == ("first", "first", [10, 4])
    assert column(installation, f"SELECT purchased FROM {promoted['old']}.batches WHERE reference = 'late'") == [99]
    assert audited(installation) == ["jane replay.promoted: somebody changed stock by hand"]

    equal = cli.run(*promoting("second", "--compare"))
    assert (equal.returncode, equal.stderr) == (0, "")
    assert "0 differ\nsecond is live now" in equal.stdout


def test_a_rebuild_that_may_lack_something_is_not_promoted(
    installation: config.Settings, cli: operator_commands.Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = rebuilding.Rebuilder.run
    monkeypatch.setattr(
        rebuilding.Rebuilder, "run", lambda *arguments: dataclasses.replace(run(*arguments), uncovered=1)
    )
    lacking = cli.run(*promoting("first"))
    assert (lacking.returncode, audited(installation)) == (1, [])
    assert "first is not promoted: it may lack what those commands did" in lacking.stderr


def test_a_promotion_may_take_longer_than_other_transactions_and_tells_where_it_is(
    installation: config.Settings, cli: operator_commands.Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli.lines("replay", "rebuild", "--into", "first", "--json")
    steps: list[tuple[str, int, int]] = []

    def on_progress(what: str, done: int, total: int) -> None:
        if what == "checking":
            threading.Event().wait(2 * SHORT_S)
        steps.append((what, done, total))

    monkeypatch.setattr(postgres, "_OPTIONS", {"transaction_timeout": f"{SHORT_S}s"})
    rebuilding.promote_rebuilt(installation, "first", NOTE, dry_run=False, on_progress=on_progress)
    words = ["waiting for all others", "checking", "taking over", "swapping", "swapping"]
    assert steps == [(what, done, 4) for done, what in enumerate(words)]


def test_why_a_command_is_parked_is_told_after_a_promotion_as_before(
    installation: config.Settings, cli: operator_commands.Commands
) -> None:
    def told() -> tuple[Any, Any]:
        (parked,) = cli.lines("parked", "list", "--json")
        with bootstrap.database(installation) as engine, engine.connect() as connection:
            outcome = views.command_outcome(connection, id="order-c", source="")
        return (parked["reason"], parked["error"]), outcome

    before = told()
    assert before[0] == ("failed", "LookupError: cursed is cursed")
    cli.lines(*promoting("first", "--json"))
    assert told() == before
