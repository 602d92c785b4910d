"""The demonstration from its first line to its last, and stopped in between; nothing of it is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import waiting
from tests.e2e import parts

if TYPE_CHECKING:
    from collections.abc import Iterator


# Cold, it fetches the services as well.
@contextlib.contextmanager
def demo(directory: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run it in the directory, with surroundings that would break it if it took any notice."""
    (directory / ".env").write_text("ALLOCATION_TOPIC_PREFIX=somebody-elses.\n")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "allocation", "demo", *options],
        cwd=directory,
        env=os.environ
        | {"TMPDIR": str(directory), "ALLOCATION_DATABASE_URL": "postgresql+psycopg2://nobody@nowhere/x"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def left_behind(directory: Path) -> list[str]:
    """Return the processes that work in the directory or name it, and the files in it."""
    found = [str(path) for path in directory.iterdir() if path.name != ".env"]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if str(directory) in command or (process / "cwd").readlink().is_relative_to(directory):
                found.append(command)
    return found


def test_the_story_is_told_and_everything_is_gone_at_its_end(tmp_path: Path) -> None:
    with demo(tmp_path, "--lines", "600") as process:
        output, errors = process.communicate()
    assert (process.returncode, errors) == (0, ""), output
    said = iter(output.splitlines())
    for expected in (
        r"HTTP +POST /allocate .* → 201 \{\"batchref\": \"early-batch\"\}",
        r"Kafka +line_allocated/\d/0  key RETRO-LAMPSHADE",
        r"Redis +PUBLISH change_batch_quantity \{\"batchref\": \"early-batch\", \"qty\": 5\}",
        r"Kafka +line_deallocated/\d/0  key RETRO-LAMPSHADE",
        r"Kafka +line_allocated/\d/\d+  key RETRO-LAMPSHADE",
        r"\"batchref\": \"late-batch\"",
        r"Redis +message on line_allocated",
        r"\"batchref\": \"late-batch\"",
        r"600 sent, 600 handled",
        r"allocated +\d+ ",
        r"out of stock +\d+ ",
        r"refused +9 ",
        r"already known +\d+ ",
        r"all +600 +of 600 lines in the file",
        r"600 lines in .* lines/s",
        r"Commands, database and topics agree",
        r"Everything is stopped: no process is left",
    ):
        assert any(re.search(expected, line) for line in said), f"{expected} is missing, or out of place:\n{output}"
    assert left_behind(tmp_path) == []


def workers(directory: Path) -> list[int]:
    """Return the process ids of the workers that the demonstration has started."""
    logged = "".join(log.read_text().rpartition("\n")[0] for log in directory.glob("*/parts.log"))
    started = [json.loads(line) for line in logged.splitlines() if '"run.part_started"' in line]
    return [line["pid"] for line in started if line["part"] == "worker"]


@pytest.mark.long
def test_a_worker_that_comes_up_long_after_the_api_is_waited_for(tmp_path: Path) -> None:
    with demo(tmp_path, "--lines", "100") as process:
        assert process.stdout is not None
        assert any("[3/6]" in line for line in process.stdout)
        waiting.wait_until(lambda: bool(workers(tmp_path)), deadline_s=parts.DEADLINE_S)
        (worker,) = workers(tmp_path)
        os.kill(worker, signal.SIGSTOP)
        assert any("The API listens" in line for line in process.stdout)
        threading.Event().wait(7)  # longer than a call waits by default
        os.kill(worker, signal.SIGCONT)
        output, errors = process.communicate()
    assert (process.returncode, errors) == (0, ""), output


@pytest.mark.parametrize(("chapter", "number"), [("[1/6]", signal.SIGTERM), ("[5/6]", signal.SIGINT)])
def test_an_interruption_stops_everything(tmp_path: Path, chapter: str, number: signal.Signals) -> None:
    with demo(tmp_path) as process:
        assert process.stdout is not None
        assert any(chapter in line for line in process.stdout)
        process.send_signal(number)
        output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors.strip()) == (
        130,
        "Interrupted; everything is stopped, and the data are removed.",
    ), output
    assert left_behind(tmp_path) == []
