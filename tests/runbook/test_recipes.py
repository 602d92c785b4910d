"""The run-book is followed, line by line, on an installation at work; after each recipe all agrees.

Of each alert the document names the tests that do what it says. The commands of replay are run where they belong, in
tests/integration: test_replay_operation.py, test_rebuilding.py and test_restoring.py; logs that are lost, in
tests/chaos/test_logs.py.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
import typer

from allocation.entrypoints.cli import app
from tests import waiting
from tests.chaos import system as systems
from tests.runbook import clusters, incoming, recipes, versions
from tests.runbook import host as hosts

if TYPE_CHECKING:
    from pathlib import Path

    from allocation import config, devstack

UPGRADING = ("deploy", "upgrade", "go back")
THE_OTHERS = (
    "deploy", "scale out", "scale in", "add partitions", "back up", "restore",
    "rotate the password of the database", "move", "rotate the user of Kafka",
)  # fmt: skip
SECRETS = (
    "rotate the password of Redis", "rotate the user of the registry", "rotate the password of the mail server",
    "rotate the token of the console",
)  # fmt: skip
ROLE = "allocation_app"


def test_deploy_upgrade_and_with_enough_time_go_back(
    host: hosts.Host, tables: sqlalchemy.Engine, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    assert "ready" in host.follow("deploy")
    orders = incoming.Orders(host, tables)
    orders.stock()
    host.install("1.1", versions.the_next(tmp_path / "next"))
    upgrade(host, orders, "1.0", "1.1")
    assert incoming.rows(tables, "SELECT version_num FROM alembic_version") == [("next",)]
    assert has_handled(tables, "1.1")
    if pytestconfig.getoption("--long"):
        go_back(host, orders, "1.0")
        upgrade(host, orders, "1.0", "1.1")
        host.install("1.2", versions.the_one_after_the_next(tmp_path / "last"))
        upgrade(host, orders, "1.1", "1.2")
        assert incoming.rows(tables, "SELECT version_num FROM alembic_version") == [("last",)]
        assert has_handled(tables, "1.2")
        go_back(host, orders, "1.1")


def upgrade(host: hosts.Host, orders: incoming.Orders, before: str, version: str) -> None:
    """Upgrade while orders come in; the version before handles some of them on the tables of the newer one."""

    def await_the_version_before(line: str) -> None:
        if line.endswith(f"{version}/bin/allocation init"):
            orders.await_one_of(before, on_tables_of=version)

    with orders.coming_in():
        assert "agree" in host.follow("upgrade", versions={"1.1": version}, after=await_the_version_before)
    orders.await_all()


def has_handled(tables: sqlalchemy.Engine, version: str) -> bool:
    return incoming.rows(tables, f"SELECT FROM journal WHERE version = '{version}' LIMIT 1") != []


def go_back(host: hosts.Host, orders: incoming.Orders, version: str) -> None:
    """Put the older version to work again, on the tables of the newer one."""
    with orders.coming_in():
        printed = host.follow("go back", versions={"1.0": version})
    orders.await_all()
    assert "left as a newer version has made it" in printed
    assert "agree" in printed


def workers_make_room_for_a_rewind(host: hosts.Host) -> None:
    rewound = host.run('allocation replay rewind --to-earliest --wait --why "to be sure"')
    assert "will be read again, and skipped" in rewound
    assert "replay.rewound" in host.run("allocation audit")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_every_other_recipe(
    host: hosts.Host,
    settings: config.Settings,
    tables: sqlalchemy.Engine,
    breakable_stack: devstack.Stack,
    tmp_path: Path,
) -> None:
    with_a_role_of_its_own(host, settings, tables, breakable_stack)
    host.follow("deploy")
    orders = incoming.Orders(host, tables)
    orders.stock()
    workers_make_room_for_a_rewind(host)
    with contextlib.closing(systems.System(settings, directory=tmp_path, seed=1)) as traffic:
        commands = traffic.workload("mixed")
        traffic.send(commands.first() + commands.take(400))
        scale(host, orders)
        restore(host, orders, tables)
        with orders.coming_in():
            host.more |= {"NEW_PASSWORD": "second", "POSTGRES_ADMIN": settings.database_url.replace("+psycopg2", "")}
            host.follow("rotate the password of the database")
        orders.await_all()
        assert "second" in host.environment["ALLOCATION_DATABASE_URL"]
        traffic.send(draft._replace(headers=()) for draft in commands.take(200))
        traffic.drain(parked=False)
        assert incoming.rows(tables, "SELECT count(*) > 0 FROM parked WHERE message_source = 'kafka'") == [(True,)]
        new = clusters.WithUsers(tmp_path / "new-kafka")
        try:
            new.start()
            new.wait_ready()
            move(host, orders, settings, new)
        finally:
            host.close()
            new.stop()


def with_a_role_of_its_own(
    host: hosts.Host, settings: config.Settings, tables: sqlalchemy.Engine, stack: devstack.Stack
) -> None:
    """Let the service be a user that needs its password."""
    url = sqlalchemy.make_url(settings.database_url)
    rules = stack.postgres.directory / "data" / "pg_hba.conf"
    text = rules.read_text()
    if ROLE not in text:
        rules.write_text(f"host all {ROLE} all scram-sha-256\n{text}")
    for statement in (
        f"DROP ROLE IF EXISTS {ROLE}",
        f"CREATE ROLE {ROLE} LOGIN PASSWORD 'first'",
        f"ALTER DATABASE {url.database} OWNER TO {ROLE}",
        "SELECT pg_reload_conf()",
    ):
        rows_of(tables, statement)
    own = url.set(username=ROLE, password="first").render_as_string(hide_password=False)
    host.set(host.environment | {"ALLOCATION_DATABASE_URL": own})


def rows_of(engine: sqlalchemy.Engine, statement: str) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


def scale(host: hosts.Host, orders: incoming.Orders) -> None:
    with orders.coming_in():
        host.follow("scale out")
        await_shares(host, [6, 6, 6])
        host.follow("scale in")
        await_shares(host, [18])
        host.follow("add partitions")
        await_shares(host, [36])
    orders.await_all()
    assert host.settings.partitions == 12


def await_shares(host: hosts.Host, expected: list[int]) -> None:
    """Wait until the workers have so many partitions each."""

    def are_shared() -> bool:
        found = json.loads(host.run("allocation status --json || true"))
        return sorted(member["partitions"] for member in found["members"]) == expected

    waiting.wait_until(are_shared, deadline_s=hosts.DEADLINE_S)


def restore(host: hosts.Host, orders: incoming.Orders, tables: sqlalchemy.Engine) -> None:
    with orders.coming_in():
        host.follow("back up")
    orders.send(100)
    orders.await_all()

    def await_the_end_of_leases(line: str) -> None:
        # A back-up of some seconds ago has the bridge's as it was then.
        if line.startswith("pg_restore"):
            query = "SELECT count(*) FROM leases WHERE expires_at > clock_timestamp() AND name <> 'maintenance'"
            waiting.wait_until(lambda: incoming.rows(tables, query) == [(0,)], deadline_s=hosts.DEADLINE_S)

    with orders.coming_in():
        assert "agree" in host.follow("restore", after=await_the_end_of_leases)
    orders.await_all()
    assert "replay.restored" in host.run("allocation audit")


def move(host: hosts.Host, orders: incoming.Orders, settings: config.Settings, new: clusters.WithUsers) -> None:
    new.add_user("allocation-1", "first")
    host.more |= {
        "OLD_KAFKA": settings.kafka_bootstrap_servers,
        "OLD_KAFKA_CONFIG": "{}",
        "NEW_KAFKA": new.asking,
        "NEW_KAFKA_CONFIG": clusters.as_user("allocation-1", "first"),
        "KAFKA_ADMIN": new.bootstrap_servers,
        "NEW_PASSWORD": "second",
    }
    orders.await_all()
    assert "agree" in host.follow("move")
    orders.send(20)
    orders.await_all()
    host.run("allocation replay rebuild --into trial --compare")
    with orders.coming_in():
        host.follow("rotate the user of Kafka")
    orders.await_all()
    assert "agree" in host.run("allocation verify")
    assert "cluster.moved" in host.run("allocation audit")


def test_every_recipe_of_the_run_book_is_followed_by_one_of_these_tests() -> None:
    assert set(recipes.read()) == {*UPGRADING, *THE_OTHERS, *SECRETS}


@pytest.mark.parametrize("heading", sorted(recipes.alerts()))
def test_what_an_alert_tells_to_do_is_run_by_a_test_that_is_there(heading: str) -> None:
    alert = recipes.alerts()[heading]
    assert alert.tests
    run = ""
    for path, _, name in (one.partition("::") for one in alert.tests):
        _, found, after = (hosts.CHECKOUT / path).read_text().partition(f"\ndef {name}(")
        assert found, f"{path} has no {name}"
        run += after.partition("\n\n\n")[0]
    if any(one.startswith("tests/runbook/") for one in alert.tests):
        assert f'"{alert.rule}"' in run
    assert {group for group in alert.groups if f'"{group}", "' in run or f"allocation {group} " in run} == alert.groups


@pytest.mark.parametrize("line", sorted(recipes.commands()))
def test_every_command_that_the_run_book_names_is_there_with_its_options(line: str) -> None:
    words = shlex.split(line.replace("…", ""))[1:]
    command = whole_command_line()
    while words and hasattr(command, "commands") and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


@functools.cache
def whole_command_line() -> Any:
    """Return all our commands, made once."""
    return typer.main.get_command(app.app)
