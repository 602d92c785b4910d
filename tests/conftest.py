"""The services for all tests: started when the first test asks for them, once per run."""

from __future__ import annotations

import importlib
import signal
from typing import TYPE_CHECKING

import pytest

from allocation import bootstrap, config, devstack
from allocation.devstack import artifacts
from allocation.entrypoints import logs
from tests import databases

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests import stacks

STACKS = ("processes", "containers", "external")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--stack",
        choices=STACKS,
        default="processes",
        help=(
            "what integration tests run against: services started as plain processes (default), "
            "testcontainers, or external ones named by ALLOCATION_KAFKA_BOOTSTRAP_SERVERS, "
            "ALLOCATION_DATABASE_URL, ALLOCATION_REDIS_URL and ALLOCATION_SCHEMA_REGISTRY_URL"
        ),
    )
    parser.addoption("--long", action="store_true", help="run the long tests, too: kill tests, floods, fuzz")
    parser.addoption("--minutes", type=float, default=0.5, help="how long the kill test by chance goes on")
    parser.addoption("--commands", type=int, default=100_000, help="how many commands the long rebuild is of")
    parser.addoption("--seed", type=int, help="what chance follows in the kill tests")
    parser.addoption("--matrix", metavar="FILE", help="write the table of the kill tests here, as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    # A shell ignores Ctrl-C for what it runs in the background, and so would every process that a test starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "long: one of the tests that run with --long only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long tests to those who ask for them."""
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Fetch what the stack needs before processes are started that run the tests side by side."""
    if getattr(session.config.option, "numprocesses", None) and not hasattr(session.config, "workerinput"):
        _fetch(session)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch what the first start of the stack needs now, since no time limit of a test runs here."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    by_processes = session.config.getoption("--stack") == "processes"
    if not session.config.option.collectonly and ("programs" in wanted or ("stack" in wanted and by_processes)):
        _fetch(session)


def _fetch(session: pytest.Session) -> None:
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    try:
        devstack.install(terminal.write_line if terminal else lambda _: None)
    except devstack.DevstackError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.fixture(scope="session", autouse=True)
def own_logging() -> Iterator[None]:
    """Let no command that runs in this process set up logging: loggers would keep the streams of its runner."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "configure", lambda _settings: None)
        yield


@pytest.fixture(scope="session")
def programs() -> Path:
    """Where the Java programs of the stack are; fetched already, see above."""
    return artifacts.install().directory


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[stacks.RunningStack]:
    """The running services. Tests share them: each uses names (topics, databases) of its own."""
    kind = importlib.import_module(f"tests.stacks.{pytestconfig.getoption('--stack')}")
    with kind.running(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def endpoints(stack: stacks.RunningStack) -> devstack.Endpoints:
    """The addresses of the services."""
    return stack.endpoints


@pytest.fixture
def breakable_stack(stack: stacks.RunningStack) -> Iterator[devstack.Stack]:
    """The services for a test that stops or kills some of them; they are up again afterwards."""
    if not isinstance(stack, devstack.Stack):
        pytest.skip("needs services that it may kill: --stack=processes")
    yield stack
    stack.start()


@pytest.fixture
def settings(endpoints: devstack.Endpoints) -> Iterator[config.Settings]:
    """Settings of an installation of its own: an empty database, topics with a prefix; `initialised` fills both."""
    with databases.fresh(endpoints) as database:
        yield databases.settings_in(database, endpoints, grace_s=2, http_port=0)


@pytest.fixture
def initialised(settings: config.Settings) -> config.Settings:
    """Settings whose topics, tables and schemas are there."""
    bootstrap.initialise(settings, on_progress=lambda _text: None)
    return settings
