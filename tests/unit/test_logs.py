"""How log lines look to a machine at the end of a pipe, and to a person at a terminal."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import terminals

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = """
import structlog
from allocation import config
from allocation.entrypoints import logs

logs.configure(config.load(_env_file=None))
log = structlog.get_logger()
log.info("worker.batch", records=2)
log.debug("worker.secret")
try:
    raise ValueError("a bug")
except ValueError:
    log.exception("worker.failed")
"""

RETRYING = """
import stamina
from allocation import config
from allocation.entrypoints import logs

logs.configure(config.load(_env_file=None))
errors = [ConnectionError("a secret")]

@stamina.retry(on=ConnectionError, wait_initial=0.001, wait_jitter=0)
def ask(payload):
    if errors:
        raise errors.pop()

ask("a payload")
"""


def environment(log_format: str | None) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("ALLOCATION_")}
    return plain if log_format is None else plain | {"ALLOCATION_LOG_FORMAT": log_format}


def piped(log_format: str | None = None, *, program: str = PROGRAM, level: str = "info") -> str:
    """Return what is logged into a pipe."""
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(log_format) | {"ALLOCATION_LOG_LEVEL": level},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "", "that is for what a command answers"
    return run.stderr


def written() -> list[str]:
    """Return what is logged without Python's buffers, as in our image, as it was written piece by piece."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        ours,
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=environment(None) | {"PYTHONUNBUFFERED": "1"}, stderr=theirs.fileno()
        ),
    ):
        theirs.close()
        return [piece.decode() for piece in iter(lambda: ours.recv(65536), b"")]


def shown(log_format: str | None = None) -> str:
    """Return what is logged to a terminal."""
    with terminals.running("-c", PROGRAM, environment=environment(log_format)) as terminal:
        said = terminal.read_all()
        assert terminal.process.wait(10) == 0
    return said


def parsed(lines: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.splitlines()]


@pytest.mark.parametrize("log", [piped, lambda: shown("json")], ids=["into a pipe", "where it is asked for"])
def test_a_machine_reads_a_line_of_json_for_each_event_tracebacks_included(log: Callable[[], str]) -> None:
    batch, failed = parsed(log())
    assert (batch["event"], batch["level"], batch["records"]) == ("worker.batch", "info", 2)
    assert str(batch["timestamp"]).endswith("Z")
    assert (failed["event"], failed["level"]) == ("worker.failed", "error")
    assert str(failed["exception"]).endswith("ValueError: a bug")


@pytest.mark.parametrize("log", [shown, lambda: piped("console")], ids=["at a terminal", "where it is asked for"])
def test_a_person_reads_lines_that_are_no_json_and_a_traceback_as_python_has_it(log: Callable[[], str]) -> None:
    said = log()
    assert "worker.batch" in said
    assert "{" not in said
    assert "Traceback (most recent call last)" in said
    assert "ValueError: a bug" in said
    assert "worker.secret" not in said


def test_a_line_is_written_at_once_so_that_no_other_process_writes_in_between() -> None:
    lines = written()
    assert [line["event"] for line in map(json.loads, lines)] == ["worker.batch", "worker.failed"]
    assert all(line.endswith("\n") for line in lines)


def test_what_is_tried_again_is_told_to_who_wants_details_without_what_was_passed() -> None:
    (line,) = parsed(piped(program=RETRYING, level="debug"))
    assert (line["event"], line["level"], line["cause"]) == ("retry.scheduled", "debug", "ConnectionError")
    assert str(line["callable"]).endswith("ask")
    assert "payload" not in str(line)
    assert "secret" not in str(line)
    assert piped(program=RETRYING) == ""
