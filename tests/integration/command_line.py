"""The command `allocation` as a process of its own, as a user or a shell script has it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.e2e import parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import config

DEADLINE_S = 60.0


class CommandLine:
    """Runs commands with the settings of one installation."""

    def __init__(self, settings: config.Settings) -> None:
        self.environment = {**os.environ, **parts.environment(settings), "COLUMNS": "200"}

    def run(self, *arguments: str, stdin: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, with more environment variables."""
        return subprocess.run(
            self._command(arguments),
            env=self.environment | settings,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a command that succeeds, and return the JSON that it prints, line by line."""
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]

    @contextlib.contextmanager
    def started(self, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
        """Start a command, and kill it at the end of the block if it still runs."""
        with subprocess.Popen(
            self._command(arguments),
            env=self.environment | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextlib.contextmanager
    def on_a_terminal(self, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """Start a command with standard error on a terminal, and lend the process and the other end of that."""
        terminal, its_end = pty.openpty()
        with subprocess.Popen(
            self._command(arguments),
            env=self.environment | {"TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=its_end,
        ) as process:
            os.close(its_end)
            try:
                yield process, terminal
            finally:
                process.kill()
                os.close(terminal)

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "allocation", *arguments]


def wait_for_progress(terminal: int, text: str, *, times: int) -> None:
    """Read what is shown on a terminal until this text was drawn so many times."""
    shown = b""
    while shown.count(text.encode()) < times:
        shown += os.read(terminal, 65_536)


def wait_for(process: subprocess.Popen[str], beginning: str) -> str:
    """Read what a process says on standard error up to a line that begins so, and return that."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith(beginning):
            return line
    raise AssertionError(f"it did not say {beginning!r}, but {''.join(said)!r}")
