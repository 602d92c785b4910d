"""An installation for each cell of the matrix; what comes of each is told while they run, and all of it at the end."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from allocation import bootstrap
from tests.chaos import matrix as matrices
from tests.chaos import system as systems

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from allocation import config

_FIXED_SEED = 1  # what runs with every `make test` is the same each time
_MATRIX = pytest.StashKey[matrices.Matrix]()
_ROW = pytest.StashKey[matrices.Row]()


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """What all chance in these tests follows from."""
    return _matrix(pytestconfig).seed


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Iterator[matrices.Row]:
    """This test's place in the matrix."""
    began = time.monotonic()
    row = request.node.stash[_ROW] = _matrix(request.config).add(request.node.name.removeprefix("test_"))
    yield row
    row.seconds = time.monotonic() - began


@pytest.fixture
def installation(settings: config.Settings) -> config.Settings:
    """Settings that make seconds of what takes minutes in production; topics, tables and schemas are there."""
    hasty = settings.model_copy(
        update={
            "partitions": 3,
            "batch_size": 40,
            "grace_s": 1.0,
            "session_timeout_ms": 2000,
            "consumer_instance_id": "only",
            "relay_lease_s": 1.0,
        }
    )
    bootstrap.initialise(hasty, on_progress=lambda _text: None)
    return hasty


@pytest.fixture
def system(installation: config.Settings, tmp_path: Path, seed: int, cell: matrices.Row) -> Iterator[systems.System]:
    """An installation whose parts a test starts and kills."""
    with systems.running(installation, directory=tmp_path, seed=seed) as running:
        yield running
        cell.workload = ", ".join(running.mixes) or "-"
        cell.reached = ", ".join(running.reached) or "-"
        cell.commands = len(running.seen.commands) if running.seen else running.sent
        cell.kills = running.kills
        cell.violations = None if running.found is None else len(running.found)
        cell.is_broken = running.is_broken


def pytest_collection_finish(session: pytest.Session) -> None:
    """Count the cells, and tell by what they can be had again."""
    matrix = _matrix(session.config)
    matrix.expected = sum("cell" in getattr(item, "fixturenames", ()) for item in session.items)
    if matrix.expected:
        _write(session.config, f"{matrix.expected} cells of the kill matrix, again with --seed {matrix.seed}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell of a cell when it has ended."""
    report = yield
    row = item.stash.get(_ROW, None)
    if row is not None:
        row.has_failed |= report.failed
        if call.when == "teardown":
            _write(item.config, _matrix(item.config).progress(row))
    return report


def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config) -> tuple[str, str, str] | None:
    """Print no dots between the lines of the cells."""
    if not config.getoption("--long") or report.skipped or "tests/chaos/" not in report.nodeid:
        return None
    if report.when == "call":
        return (report.outcome, "", report.outcome.upper())
    return ("error", "", "ERROR") if report.failed else ("", "", "")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the matrix, and write it where it is asked for."""
    matrix = _matrix(config)
    if not matrix.rows or not config.getoption("--long"):
        return
    for table in matrix.tables():
        terminalreporter.section(table.title)
        for line in table.as_text():
            terminalreporter.write_line(line)
    terminalreporter.section(matrix.summary())
    file = config.getoption("--matrix")
    if file is not None:
        Path(file).write_text(matrix.as_markdown())
        terminalreporter.write_line(f"The tables are in {file}")


def _matrix(config: pytest.Config) -> matrices.Matrix:
    if _MATRIX not in config.stash:
        config.stash[_MATRIX] = matrices.Matrix(seed=_seed(config))
    return config.stash[_MATRIX]


def _seed(config: pytest.Config) -> int:
    chosen: int | None = config.getoption("--seed")
    if chosen is not None:
        return chosen
    return random.SystemRandom().randrange(10**6) if config.getoption("--long") else _FIXED_SEED


def _write(config: pytest.Config, line: str) -> None:
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal and config.getoption("--long"):
        terminal.write_line(line)
