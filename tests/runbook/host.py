"""A host as the run-book assumes it: systemd's units, versions below /opt/allocation, settings in /etc."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocation import children, config
from allocation.devstack import programs
from tests.e2e import parts
from tests.runbook import recipes, stand_ins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEADLINE_S = 60.0
CHECKOUT = Path(__file__).parents[2]
_KAFKA_TOOLS = ("kafka-topics", "kafka-configs", "kafka-consumer-groups")
_POSTGRES_TOOLS = ("psql", "pg_dump", "pg_restore")
_TOOL = """\
import sys
from allocation import devstack
done = devstack.kafka_tool(*sys.argv[1:])
sys.stdout.write(done.stdout)
sys.stderr.write(done.stderr)
sys.exit(done.returncode)
"""


class Host:
    """Runs the lines of recipes; `more` are the variables that an operator has set besides the settings.

    Units have the ports that stand for them in `health_ports`, as by `Environment=` in their files.
    """

    def __init__(self, directory: Path, settings: config.Settings) -> None:
        self.more: dict[str, str] = {}
        self.health_ports: dict[str, int] = {}
        self._directory = directory
        self._file = directory / "env"
        self._bin = directory / "bin"
        self._units: dict[str, subprocess.Popen[bytes]] = {}
        self._recipes = recipes.read()
        for name in ("bin", "opt", "nginx", "backups", "log"):
            (directory / name).mkdir()
        self.set(parts.environment(settings))
        for tool in _KAFKA_TOOLS:
            (directory / f"{tool}.py").write_text(_TOOL)
            self._program(self._bin / tool, f"cd {CHECKOUT}", sys.executable, "-c", _TOOL, tool)
        for tool in stand_ins.PROGRAMS:
            self._program(self._bin / tool, f"cd {CHECKOUT}", sys.executable, "-m", stand_ins.__name__, tool)
        for tool in _POSTGRES_TOOLS:
            self._program(self._bin / tool, ":", str(programs.postgres(tool)))

    def install(self, version: str, source: Path = CHECKOUT) -> None:
        """Put a version below /opt/allocation: what lies in this directory."""
        command = self._directory / "opt" / version / "bin" / "allocation"
        command.parent.mkdir(parents=True)
        self._program(command, f"cd {source}", sys.executable, "-m", "allocation")

    def set(self, values: Mapping[str, str]) -> None:
        """Write the file of settings."""
        self._file.write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))

    @property
    def environment(self) -> dict[str, str]:
        """What the file of settings says."""
        lines = shlex.split(self._file.read_text())
        return dict(line.split("=", 1) for line in lines)

    @property
    def settings(self) -> config.Settings:
        """The settings as they are now."""
        values: dict[str, Any] = {
            name.removeprefix("ALLOCATION_").lower(): value for name, value in self.environment.items()
        }
        return config.load(**values | {"kafka_config": json.loads(values.get("kafka_config", "{}"))})

    def follow(
        self,
        name: str,
        *,
        versions: Mapping[str, str] | None = None,
        after: Callable[[str], object] = lambda _line: None,
    ) -> str:
        """Do what a recipe says, line by line; returns what was printed. Each line must succeed.

        `versions` says which ones stand for those that the recipe names; `after` is told each line that was done.
        """
        printed = ""
        for written in self._recipes[name]:
            line = written
            for named, meant in (versions or {}).items():
                line = line.replace(named, meant)
            words = line.split()
            if words[0] == "systemctl":
                self.control(words[1], words[2:])
            else:
                printed += self.run(line)
            after(line)
        return printed

    def run(self, line: str) -> str:
        """Run a line in the operator's shell, and return what it printed."""
        done = subprocess.run(
            self._shell(line),
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}{self._logs()}"
        return done.stdout

    def close(self) -> None:
        """Kill what runs."""
        for process in self._units.values():
            process.kill()
            process.wait()

    def control(self, action: str, units: list[str]) -> None:
        """Do as `systemctl` does; what is stopped must end well, and all that was started must run."""
        if action in ("stop", "restart"):
            stopped = {unit: self._units.pop(unit) for unit in units}
            for process in stopped.values():
                process.send_signal(signal.SIGTERM)
            for unit, process in stopped.items():
                code = process.wait(DEADLINE_S)
                assert code == 0, f"{unit} ended with {code}{self._logs()}"
        if action in ("start", "restart"):
            self._units |= {unit: self._start(unit) for unit in units}
        for unit, process in self._units.items():
            assert process.poll() is None, f"{unit} has ended{self._logs()}"

    def log(self, unit: str) -> str:
        """Return what a unit has said."""
        return (self._directory / "log" / unit).read_text()

    @property
    def registry_users(self) -> Path:
        """The file of who may ask the schema registry."""
        return self._directory / "nginx" / "registry.users"

    def _start(self, unit: str) -> subprocess.Popen[bytes]:
        part = unit.partition("@")[0].removeprefix("allocation-")
        port = self.health_ports.get(unit)
        own = {} if port is None else {"ALLOCATION_HEALTH_PORT": str(port)}
        with (self._directory / "log" / unit).open("ab") as log:
            return children.spawn(
                (str(self._directory / "opt" / "current" / "bin" / "allocation"), part),
                environment=os.environ | self.environment | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _shell(self, line: str) -> list[str]:
        for before, here in (
            ("/etc/allocation/env", self._file),
            ("/opt/allocation", self._directory / "opt"),
            ("/etc/nginx", self._directory / "nginx"),
            ("/var/backups", self._directory / "backups"),
        ):
            line = line.replace(before, str(here))
        return ["bash", "-euc", f"set -a; . {self._file}; set +a\n{line}"]

    def _environment(self) -> dict[str, str]:
        ours = f"{self._directory / 'opt' / 'current' / 'bin'}:{self._bin}"
        return os.environ | self.more | {"PATH": f"{ours}:{os.environ['PATH']}", "COLUMNS": "200"}

    def _logs(self) -> str:
        logs = sorted((self._directory / "log").iterdir())
        return "".join(f"\n--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)

    def _program(self, path: Path, before: str, *command: str) -> None:
        path.write_text(f'#!/bin/sh\n{before}\nexec {shlex.join(command)} "$@"\n')
        path.chmod(0o755)


def copy_version(directory: Path) -> Path:
    """Copy this version, to be made into another."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("allocation", "schemas"):
        shutil.copytree(CHECKOUT / name, directory / name, ignore=ignored)
    return directory
