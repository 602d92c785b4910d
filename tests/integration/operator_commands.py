"""The commands of `allocation` in this process: a story of twenty of them would take a minute otherwise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from typer import testing

from allocation.entrypoints.cli import app
from tests.e2e import parts

if TYPE_CHECKING:
    from allocation import config


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Commands:
    """Runs commands with the settings of one installation."""

    def __init__(self, settings: config.Settings) -> None:
        self._environment = {**parts.environment(settings), "COLUMNS": "200"}

    def run(self, *arguments: str) -> Result:
        """Run a command; an error that it does not expect fails the test."""
        result = testing.CliRunner().invoke(app.app, list(arguments), env=self._environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Result(result.exit_code, result.stdout, result.stderr)

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        """Run a command that succeeds, and return the JSON that it prints, line by line."""
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]
