"""Parts of an installation as processes that may be killed anywhere, and never outlive the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from allocation import children
from allocation.service_layer import kill_points
from tests import waiting
from tests.e2e import parts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allocation import config

DEADLINE_S = 60.0  # for what takes a second on a machine that has nothing else to do
_REPOSITORY = Path(__file__).parents[2]


class Part:
    """`python -m allocation NAME`, or a broken variant of it; `log` is what it wrote."""

    def __init__(
        self,
        name: str,
        settings: config.Settings,
        *,
        log: Path,
        kill_point: str | None = None,
        variant: str | None = None,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.kill_point = kill_point
        self._freezes = 0
        module = ("allocation",) if variant is None else ("tests.chaos.broken", variant)
        armed = {} if kill_point is None else {kill_points.VARIABLE: kill_point}
        with log.open("wb") as output:
            self.process = children.spawn(
                (sys.executable, "-m", *module, name),
                environment=os.environ
                | {"PYTHONPATH": str(_REPOSITORY), "PYTHONUNBUFFERED": "1"}
                | parts.environment(settings)
                | armed
                | dict(more or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def strikes(self) -> int:
        """How often it was killed or halted."""
        was_halted = (self.kill_point or "").endswith(":stop") and bool(self.lines("kill_point.reached"))
        return int(self.process.poll() == -signal.SIGKILL) + int(was_halted) + self._freezes

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Return its log lines of this event."""
        # What stands behind the last line break is being written.
        whole = self.log.read_text(errors="replace").rpartition("\n")[0]
        texts = [text for text in whole.splitlines() if text.startswith("{")]
        return [line for line in map(json.loads, texts) if line.get("event") == event]

    def await_line(self, event: str, *, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait until it has logged this event; return the last such line."""
        waiting.wait_until(lambda: bool(self.lines(event)) or not self.is_running, deadline_s=deadline_s)
        found = self.lines(event)
        assert found, f"{self.name} ended without {event}: {self.log.read_text()[-2000:]}"
        return found[-1]

    def await_kill_point(self) -> str:
        """Wait until it died, make sure that it did so at its kill point, and return the name of that."""
        assert self.kill_point is not None
        code = self.process.wait(DEADLINE_S)
        reached = [line["name"] for line in self.lines("kill_point.reached")]
        name = self.kill_point.partition(":")[0]
        assert (code, reached) == (-signal.SIGKILL, [name]), self.log.read_text()[-2000:]
        return name

    def await_halt(self) -> str:
        """Wait until it has halted at its kill point, and return the name of that."""
        name: str = self.await_line("kill_point.reached")["name"]
        self._await_stopped()
        return name

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def stop(self) -> int:
        """Ask it to end in order, and return its exit code."""
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        return self.process.wait(DEADLINE_S)

    def freeze(self) -> None:
        """Stop it where it stands, as a paused virtual machine would be."""
        self._freezes += 1
        self.process.send_signal(signal.SIGSTOP)
        self._await_stopped()

    def thaw(self) -> None:
        """Let it go on as if nothing had happened."""
        self.process.send_signal(signal.SIGCONT)

    def _await_stopped(self) -> None:
        state = Path(f"/proc/{self.process.pid}/stat")
        waiting.wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")


def tree(pid: int) -> list[int]:
    """Return a process and all that have come from it, as they are now."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(descendant for child in children for descendant in tree(int(child)))]
