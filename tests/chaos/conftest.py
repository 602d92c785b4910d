"""An installation for each cell of the matrix, and the table of them all."""

from __future__ import annotations

import dataclasses
import random
import time
from typing import TYPE_CHECKING

import pytest

from allocation import bootstrap
from tests.chaos import system as systems

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from allocation import config

_FIXED_SEED = 1  # what runs with every `make test` is the same each time


@dataclasses.dataclass
class Row:
    """One cell, as it is printed at the end."""

    cell: str
    reached: str = "-"
    commands: int = 0
    events: int = 0
    violations: str = "?"
    seconds: float = 0.0


_ROWS = pytest.StashKey[list[Row]]()
_SEED = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """What all chance in these tests follows from."""
    chosen = pytestconfig.getoption("--seed")
    if chosen is None:
        chosen = random.SystemRandom().randrange(10**6) if pytestconfig.getoption("--long") else _FIXED_SEED
    pytestconfig.stash[_SEED] = int(chosen)
    return int(chosen)


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
def system(
    installation: config.Settings, tmp_path: Path, seed: int, request: pytest.FixtureRequest
) -> Iterator[systems.System]:
    """An installation whose parts a test starts and kills."""
    began = time.monotonic()
    row = Row(request.node.name.removeprefix("test_"))
    request.config.stash.setdefault(_ROWS, []).append(row)
    with systems.running(installation, directory=tmp_path, seed=seed) as running:
        yield running
        row.reached = ", ".join(running.reached) or "-"
        row.commands = running.sent
        row.events = len(running.seen.events) if running.seen else 0
        row.violations = "?" if running.found is None else str(len(running.found))
    row.seconds = time.monotonic() - began
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    if terminal and request.config.getoption("--long"):
        terminal.write_line(f" {row.seconds:6.1f} s  {row.cell}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the matrix."""
    rows = config.stash.get(_ROWS, [])
    if not rows or not config.getoption("--long"):
        return
    terminalreporter.section(f"kill matrix, seed {config.stash.get(_SEED, None)}")
    width = max(len(row.cell) for row in rows)
    line = f"{{:{width}}}  {{:26}}  {{:>8}}  {{:>7}}  {{:>10}}  {{:>7}}"
    terminalreporter.write_line(line.format("cell", "reached", "commands", "events", "violations", "seconds"))
    for row in rows:
        values = (row.cell, row.reached, row.commands, row.events, row.violations, f"{row.seconds:.1f}")
        terminalreporter.write_line(line.format(*values))
