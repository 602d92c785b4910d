"""The run-book is followed, line by line, on an installation at work; after each recipe all agrees.

Of each alert the document names the tests that run its commands. Those of replay are run where they belong, in
tests/integration: test_replay_operation.py, test_rebuilding.py and test_restoring.py; logs that are lost, in
tests/chaos/test_logs.py.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import shlex
import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
import typer

import allocation
from allocation import bootstrap
from allocation.entrypoints.cli import app
from allocation.service_layer.operations import producing
from tests import waiting
from tests.chaos import system as systems
from tests.runbook import clusters, recipes
from tests.runbook import host as hosts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from allocation import config, devstack

UPGRADING = ("deploy", "upgrade", "go back")
THE_OTHERS = (
    "deploy", "scale out", "scale in", "add partitions", "back up", "restore",
    "rotate the password of the database", "move", "rotate the user of Kafka",
)  # fmt: skip
ROLE = "allocation_app"
_PAUSE_S = 0.1  # between two orders: there is always one on its way
_SAYS = {"1.0": allocation.__version__}  # what lies here is installed as it is
_STAMPED = """
    # What began later has found these tables as they are now.
    op.execute("LOCK TABLE journal IN ACCESS EXCLUSIVE MODE")
    op.execute("INSERT INTO reservations (sku) VALUES ('{version}')")
"""
_ADDED = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = {head!r}
TABLES = ("products", "batches", "order_lines", "inbox", "parked", "positions", "journal", "outbox", "leases", "audit")


def upgrade() -> None:
    op.create_table(
        "reservations",
        sa.Column("sku", sa.Text(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.clock_timestamp()),
    )
    for table in TABLES:
        op.add_column(table, sa.Column("remark", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("kind", sa.Integer(), nullable=False, server_default="0"))
    op.create_index("order_lines_remark_idx", "order_lines", ["remark"])
"""
_TAKEN_AWAY = """
from alembic import op

revision = "last"
down_revision = "next"


def upgrade() -> None:
    op.drop_column("releases", "begun_at")
"""
# The worker of this version asks for it all the time, the next one no longer, and the one after that drops it.
_USED = "FROM releases ORDER BY begun_at, queue"
_UNUSED = "FROM releases ORDER BY queue"


class Orders:
    """Orders of one line each for stock that does not end, and whether they have been allocated."""

    def __init__(self, host: hosts.Host, tables: sqlalchemy.Engine) -> None:
        self._host = host
        self._tables = tables
        self._numbers = itertools.count()
        self._sent: list[str] = []

    def stock(self) -> None:
        with bootstrap.command_sender(self._host.settings) as sender:
            sender.send(producing.GivenCommand("CreateBatch", {"ref": "b", "sku": "LAMP", "qty": 10**6, "eta": None}))

    def send(self, count: int = 1) -> None:
        with bootstrap.command_sender(self._host.settings) as sender:
            for _ in range(count):
                self._send(sender)

    @contextlib.contextmanager
    def coming_in(self) -> Iterator[None]:
        """Send orders for as long as the block takes."""
        done = threading.Event()
        with futures.ThreadPoolExecutor(1) as pool:
            sending = pool.submit(self._send_until, done)
            try:
                yield
            finally:
                done.set()
            sending.result()

    def await_all(self) -> None:
        """Wait until every order that was sent is allocated, and nothing is left to be sent."""
        waiting.wait_until(self._are_allocated, deadline_s=hosts.DEADLINE_S)

    def await_one_of(self, version: str, *, on_tables_of: str) -> None:
        """Wait until a version has handled a command that came when the tables were those of another one."""
        query = f"""
            SELECT FROM journal WHERE version = '{_SAYS.get(version, version)}'
            AND handled_at > (SELECT at FROM reservations WHERE sku = '{on_tables_of}')
        """
        waiting.wait_until(lambda: rows(self._tables, query) != [], deadline_s=hosts.DEADLINE_S)

    def _send_until(self, done: threading.Event) -> None:
        with bootstrap.command_sender(self._host.settings) as sender:
            while not done.wait(_PAUSE_S):
                self._send(sender)

    def _send(self, sender: producing.Sender) -> None:
        orderid = f"order-{next(self._numbers)}"
        sender.send(producing.GivenCommand("Allocate", {"orderid": orderid, "sku": "LAMP", "qty": 1}))
        self._sent.append(orderid)

    def _are_allocated(self) -> bool:
        return rows(self._tables, "SELECT count(*) FROM order_lines WHERE sku = 'LAMP'") == [(len(self._sent),)] and (
            rows(self._tables, "SELECT count(*) FROM outbox") == [(0,)]
        )


@pytest.fixture
def tables(settings: config.Settings) -> Iterator[sqlalchemy.Engine]:
    """The database, as its administrator sees it."""
    engine = sqlalchemy.create_engine(settings.database_url, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture
def host(settings: config.Settings, tmp_path: Path) -> Iterator[hosts.Host]:
    """A host on which version 1.0 lies, and nothing is deployed yet."""
    own = settings.model_copy(update={"grace_s": 600.0, "partitions": 6, "kafka_config": {}, "relay_lease_s": 1.0})
    with contextlib.closing(hosts.Host(tmp_path, own)) as host:
        host.install("1.0")
        yield host


def rows(engine: sqlalchemy.Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


@pytest.mark.timeout(300)
def test_deploy_upgrade_and_with_enough_time_go_back(
    host: hosts.Host, tables: sqlalchemy.Engine, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    assert "ready" in host.follow("deploy")
    orders = Orders(host, tables)
    orders.stock()
    host.install("1.1", the_next_version(tmp_path / "next"))
    upgrade(host, orders, "1.0", "1.1")
    assert rows(tables, "SELECT version_num FROM alembic_version") == [("next",)]
    assert has_handled(tables, "1.1")
    if pytestconfig.getoption("--long"):
        go_back(host, orders, "1.0")
        upgrade(host, orders, "1.0", "1.1")
        host.install("1.2", the_version_after_the_next(tmp_path / "last"))
        upgrade(host, orders, "1.1", "1.2")
        assert rows(tables, "SELECT version_num FROM alembic_version") == [("last",)]
        assert has_handled(tables, "1.2")
        go_back(host, orders, "1.1")


def upgrade(host: hosts.Host, orders: Orders, before: str, version: str) -> None:
    """Upgrade while orders come in; the version before handles some of them on the tables of the newer one."""

    def await_the_version_before(line: str) -> None:
        if line.endswith(f"{version}/bin/allocation init"):
            orders.await_one_of(before, on_tables_of=version)

    with orders.coming_in():
        assert "agree" in host.follow("upgrade", versions={"1.1": version}, after=await_the_version_before)
    orders.await_all()


def has_handled(tables: sqlalchemy.Engine, version: str) -> bool:
    return rows(tables, f"SELECT FROM journal WHERE version = '{version}' LIMIT 1") != []


def go_back(host: hosts.Host, orders: Orders, version: str) -> None:
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


def the_next_version(directory: Path, number: str = "1.1") -> Path:
    """Make a version that adds columns to the tables that work goes on in, a table and an index, and uses one less."""
    source = hosts.copy_version(directory)
    postgres = source / "allocation" / "adapters" / "postgres"
    head = max((postgres / "migrations" / "versions").glob("*.py")).name[:4]
    add_a_migration(source, "9998_next.py", _ADDED.format(head=head) + _STAMPED.format(version="1.1"))
    (source / "allocation" / "__init__.py").write_text(f'"""A later version."""\n\n__version__ = "{number}"\n')
    asking = postgres / "waiting_room.py"
    assert _USED in asking.read_text()
    asking.write_text(asking.read_text().replace(_USED, _UNUSED))
    return source


def the_version_after_the_next(directory: Path) -> Path:
    """Make a version that takes away what the next one has used no longer."""
    source = the_next_version(directory, "1.2")
    add_a_migration(source, "9999_last.py", _TAKEN_AWAY + _STAMPED.format(version="1.2"))
    return source


def add_a_migration(source: Path, name: str, text: str) -> None:
    (source / "allocation" / "adapters" / "postgres" / "migrations" / "versions" / name).write_text(text)


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
    orders = Orders(host, tables)
    orders.stock()
    workers_make_room_for_a_rewind(host)
    with contextlib.closing(systems.System(settings, directory=tmp_path, seed=1)) as traffic:
        commands = traffic.workload("mixed")
        traffic.send(commands.first() + commands.take(400))
        scale(host, orders)
        restore(host, orders)
        with orders.coming_in():
            host.more |= {"NEW_PASSWORD": "second", "POSTGRES_ADMIN": settings.database_url.replace("+psycopg2", "")}
            host.follow("rotate the password of the database")
        orders.await_all()
        assert "second" in host.environment["ALLOCATION_DATABASE_URL"]
        traffic.send(draft._replace(headers=()) for draft in commands.take(200))
        traffic.drain(parked=False)
        assert rows(tables, "SELECT count(*) > 0 FROM parked WHERE message_source = 'kafka'") == [(True,)]
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


def scale(host: hosts.Host, orders: Orders) -> None:
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


def restore(host: hosts.Host, orders: Orders) -> None:
    with orders.coming_in():
        host.follow("back up")
    orders.send(100)
    orders.await_all()
    with orders.coming_in():
        assert "agree" in host.follow("restore")
    orders.await_all()
    assert "replay.restored" in host.run("allocation audit")


def move(host: hosts.Host, orders: Orders, settings: config.Settings, new: clusters.WithUsers) -> None:
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
    assert set(recipes.read()) == {*UPGRADING, *THE_OTHERS}


@pytest.mark.parametrize("alert", sorted(name for name, (groups, _) in recipes.alerts().items() if groups))
def test_what_an_alert_tells_to_do_is_run_by_a_test_that_is_there(alert: str) -> None:
    groups, named = recipes.alerts()[alert]
    run = ""
    for path, _, name in (one.partition("::") for one in named):
        _, found, after = (hosts.CHECKOUT / path).read_text().partition(f"\ndef {name}(")
        assert found, f"{path} has no {name}"
        run += after.partition("\n\n\n")[0]
    assert {group for group in groups if f'"{group}", "' in run} == groups


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
