"""An installation whose parts an operator starts, kills and asks, and what Prometheus sees of them."""

from __future__ import annotations

import contextlib
import shlex
from typing import TYPE_CHECKING

from allocation import bootstrap
from allocation.devstack import ports
from allocation.service_layer.operations import producing
from tests import waiting
from tests.chaos import processes
from tests.chaos import system as systems
from tests.integration import operator_commands
from tests.runbook import firing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from allocation import config

PARTITIONS = 3
_STARTED = {
    "worker": "worker.assigned",
    "relay": "health.served",
    "bridge": "bridge.inbound.subscribed",
    "api": "api.listening",
}


class Watched:
    """Parts by the names of their units; each keeps its port when it is started again."""

    def __init__(self, system: systems.System) -> None:
        self.system = system
        self.settings = system.settings
        self.tables = system.tables
        self.alerts = firing.Alerts({})
        self.parts: dict[str, processes.Part] = {}
        self._operator = operator_commands.Commands(system.settings)

    def start(self, *units: str, **settings: object) -> None:
        """Start parts, and wait until they are at work."""
        for unit in units:
            self.begin(unit, **settings)
        for unit in units:
            self.parts[unit].await_line(_STARTED[unit.partition("@")[0]])

    def begin(self, unit: str, **settings: object) -> processes.Part:
        """Start a part, and do not wait for it."""
        name = unit.partition("@")[0]
        port = self.alerts.instances.get(unit) or ports.pick(1)[0]
        own = {"http_port" if name == "api" else "health_port": port}
        self.alerts.instances[unit] = port
        self.parts[unit] = self.system.start(name, settings=own | settings)
        return self.parts[unit]

    def stop(self, unit: str) -> None:
        """Stop a part for good, in order."""
        del self.alerts.instances[unit]
        assert self.parts.pop(unit).stop() == 0

    def send(self, *commands: producing.GivenCommand) -> None:
        """Put commands on their topics."""
        with bootstrap.command_sender(self.settings) as sender:
            for command in commands:
                sender.send(command)

    def run(self, line: str, *, code: int = 0) -> str:
        """Run one of our commands as an operator does; returns all that it said."""
        done = self._operator.run(*shlex.split(line.removeprefix("allocation ")))
        assert done.returncode == code, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def await_rows(self, statement: str, *expected: object) -> None:
        """Wait until a query has this one row."""
        waiting.wait_until(lambda: self.tables.rows(statement) == [expected], deadline_s=processes.DEADLINE_S)

    def await_lines(self, count: int) -> None:
        """Wait until so many order lines are allocated, and all that came of it is sent."""
        self.await_rows("SELECT (SELECT count(*) FROM order_lines), (SELECT count(*) FROM outbox)", count, 0)


def stock(sku: str = "LAMP") -> producing.GivenCommand:
    """Return a batch that does not end."""
    return producing.GivenCommand("CreateBatch", {"ref": f"batch of {sku}", "sku": sku, "qty": 10**6, "eta": None})


def order(orderid: str, sku: str = "LAMP") -> producing.GivenCommand:
    """Return an order of one piece."""
    return producing.GivenCommand("Allocate", {"orderid": orderid, "sku": sku, "qty": 1})


@contextlib.contextmanager
def watched(settings: config.Settings, *, directory: Path, **more: object) -> Iterator[Watched]:
    """Set an installation up; nothing of it goes on afterwards."""
    own = settings.model_copy(
        update={"partitions": PARTITIONS, "session_timeout_ms": 2000, "relay_lease_s": 1.0, **more}
    )
    bootstrap.initialise(own, on_progress=lambda _text: None)
    with systems.running(own, directory=directory, seed=1) as system:
        yield Watched(system)
