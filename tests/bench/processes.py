"""The parts that are measured, as processes of their own: ours, and the contenders in the same place."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocation import children
from tests.bench import usage
from tests.e2e import parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import config

DEADLINE_S = 60.0
_POLL_S = 0.005
_REPOSITORY = Path(__file__).parents[2]


class Process:
    """A Python module that runs, and its log lines."""

    def __init__(self, arguments: tuple[str, ...], settings: config.Settings, *, log: Path) -> None:
        self.started_at = time.time()
        self._log = log
        self._arguments = arguments
        with log.open("wb") as output:
            self._process = children.spawn(
                (sys.executable, "-m", *arguments),
                environment=os.environ | {"PYTHONPATH": str(_REPOSITORY)} | parts.environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return its log lines of this event."""
        wanted = f'"{event}"'
        complete = self._log.read_text().rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in complete if wanted in line and line.startswith("{")]

    def await_line(self, event: str, *, count: int = 1) -> dict[str, Any]:
        """Wait for so many log lines of this event, and return the last one."""
        deadline = time.monotonic() + DEADLINE_S
        while len(found := self.lines(event)) < count:
            self.check(deadline)
            time.sleep(_POLL_S)
        return found[-1]

    def check(self, deadline: float) -> None:
        """Raise RuntimeError with the end of the log if it has ended, or the time is over."""
        if self._process.poll() is not None or time.monotonic() > deadline:
            state = "is late" if self._process.poll() is None else "has ended"
            raise RuntimeError(f"{' '.join(self._arguments)} {state}:\n{self._log.read_text()[-3000:]}")

    def freeze(self) -> None:
        """Stop it where it stands."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def peak_rss_mb(self) -> float:
        """Return the most memory that it has had."""
        return usage.peak_rss_mb(self.pid)

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        self.thaw()
        self._process.terminate()
        try:
            self._process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def logged_at(line: dict[str, Any]) -> float:
    """Return the time of a log line, in seconds since the epoch."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


@contextlib.contextmanager
def running(*arguments: str, settings: config.Settings) -> Iterator[Process]:
    """Run `python -m` with these arguments until the block ends."""
    with tempfile.TemporaryDirectory(prefix="allocation-bench-") as directory:
        process = Process(arguments, settings, log=Path(directory, "log"))
        try:
            yield process
        finally:
            process.stop()
