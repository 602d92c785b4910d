"""`allocation up`, `env` and `down` from outside, in a cache directory of the test's own."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest

from allocation import devstack

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import typer
from allocation.entrypoints.cli import stack
app = typer.Typer(pretty_exceptions_enable=False)
for command in (stack.up, stack.down, stack.env):
    app.command()(command)
app()
"""
DEADLINE_S = 60.0


class CommandLine:
    def __init__(self, cache_home: Path) -> None:
        self.environment = {**os.environ, "XDG_CACHE_HOME": str(cache_home), "COLUMNS": "200"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-u", "-c", PROGRAM, *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def endpoints(self) -> devstack.Endpoints:
        printed = self.run("env")
        assert printed.returncode == 0, printed.stderr
        words = [shlex.split(line) for line in printed.stdout.splitlines()]
        assert all(export == "export" and len(rest) == 1 for export, *rest in words)
        return devstack.Endpoints.from_environment(dict(word[1].split("=", 1) for word in words))


@pytest.fixture
def command_line(tmp_path: Path, programs: Path) -> Iterator[CommandLine]:
    cache_home = tmp_path / "cache"
    cache_home.joinpath("allocation").mkdir(parents=True)
    cache_home.joinpath("allocation", programs.name).symlink_to(programs)
    command_line = CommandLine(cache_home)
    yield command_line
    command_line.run("down")


@pytest.mark.parametrize("command", ["env", "down"])
def test_without_a_stack_it_says_so_and_fails(command_line: CommandLine, command: str) -> None:
    result = command_line.run(command)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == "allocation: No local stack is running; `allocation up` starts one.\n"


def test_a_detached_stack_stays_until_down_and_keeps_its_data_and_addresses(command_line: CommandLine) -> None:
    up = command_line.run("up", "--detach")
    assert up.returncode == 0, up.stdout + up.stderr
    assert "Kafka is up on port" in up.stdout
    endpoints = command_line.endpoints()
    assert endpoints.kafka_bootstrap_servers in up.stdout
    execute(endpoints, "CREATE TABLE kept ()")

    for second_up in (command_line.run("up"), command_line.run("up", "--detach")):
        assert second_up.returncode == 1
        assert "A local stack is running already (process " in second_up.stderr

    down = command_line.run("down")
    assert (down.returncode, down.stdout) == (0, "Stopped.\n")
    assert command_line.run("env").returncode == 1
    with pytest.raises(psycopg2.OperationalError):
        execute(endpoints, "SELECT")

    assert command_line.run("up", "--detach").returncode == 0
    assert command_line.endpoints() == endpoints
    execute(endpoints, "SELECT FROM kept")

    wiped = command_line.run("down", "--wipe")
    assert (wiped.returncode, wiped.stdout) == (0, "Stopped.\nThe data are removed.\n")
    assert command_line.run("down", "--wipe").returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stack_in_the_foreground_stops_at_a_signal_and_leaves_no_process(
    command_line: CommandLine, number: signal.Signals
) -> None:
    with command_line.start("up") as up:
        assert up.stdout is not None
        wait_for_line(up, "Ctrl-C stops everything.")
        ends = [os.pidfd_open(pid) for pid in children(up.pid)]
        assert len(ends) == 4
        up.send_signal(number)
        rest = up.stdout.read()
    assert up.returncode == 0
    assert "Stopped; the data are kept." in rest
    assert_all_have_ended(ends)
    assert command_line.run("env").returncode == 1


def test_an_interrupted_start_leaves_no_process(command_line: CommandLine) -> None:
    with command_line.start("up") as up:
        assert up.stdout is not None
        wait_for_line(up, "Redis (Valkey) is up on port")
        ends = [os.pidfd_open(pid) for pid in children(up.pid)]
        up.send_signal(signal.SIGINT)
        rest = up.stdout.read()
    assert up.returncode == 130, rest
    assert rest.splitlines()[-1] == "Interrupted; everything is stopped."
    assert_all_have_ended(ends)
    assert command_line.run("down").returncode == 1


def test_when_a_service_dies_the_foreground_says_which_and_stops(command_line: CommandLine) -> None:
    with command_line.start("up") as up:
        assert up.stdout is not None
        wait_for_line(up, "Ctrl-C stops everything.")
        victim = next(pid for pid in children(up.pid) if "valkey" in command_of(pid))
        os.kill(victim, signal.SIGKILL)
        rest = up.stdout.read()
    assert up.returncode == 1
    assert "allocation: Redis (Valkey) has stopped by itself (ended by SIGKILL)" in rest


def test_no_service_outlives_a_killed_supervisor(command_line: CommandLine) -> None:
    assert command_line.run("up", "--detach").returncode == 0
    refused = command_line.run("up").stderr
    supervisor = int(refused.split("(process ")[1].split(")")[0])
    ends = [os.pidfd_open(pid) for pid in children(supervisor)]
    assert len(ends) == 4
    os.kill(supervisor, signal.SIGKILL)
    wait_until_all_have_ended(ends)
    assert command_line.run("env").returncode == 1


def execute(endpoints: devstack.Endpoints, sql: str) -> None:
    connection = psycopg2.connect(endpoints.database_url.replace("+psycopg2", ""))
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
    finally:
        connection.close()


def wait_for_line(process: subprocess.Popen[str], beginning: str) -> None:
    """Read what the process prints up to such a line; fails when it ends before."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(beginning):
            return
    pytest.fail(f"{beginning!r} was not printed, but:\n{''.join(lines)}")


def children(pid: int) -> list[int]:
    """Return the process ids of what the process has started, by any of its threads."""
    everyone = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [child for child in everyone if parent_of(child) == pid]


def parent_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # After the name in parentheses, which may hold anything: the state, then the parent.
    return int(stat.rpartition(")")[2].split()[1])


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def assert_all_have_ended(process_descriptors: list[int]) -> None:
    wait_until_all_have_ended(process_descriptors, deadline_s=0)


def wait_until_all_have_ended(process_descriptors: list[int], deadline_s: float = DEADLINE_S) -> None:
    """A process descriptor becomes readable when its process has ended."""
    end = time.monotonic() + deadline_s
    for descriptor in process_descriptors:
        ended, _, _ = select.select([descriptor], [], [], max(0.0, end - time.monotonic()))
        os.close(descriptor)
        assert ended
