"""An installation with a console: worker, relay and console as processes of their own."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import sqlalchemy

from allocation import bootstrap, config
from allocation.devstack import ports
from allocation.service_layer.operations import producing
from tests import databases, waiting
from tests.e2e import parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack

TOKEN = "a token for the tests"


@dataclass
class Watched:
    """Everything runs; `url` is the console's."""

    settings: config.Settings
    database: sqlalchemy.Engine
    health_ports: dict[str, int]
    url: str = ""
    parts: dict[str, parts.Part] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start a part, again if it was killed."""
        own = {"ALLOCATION_HEALTH_PORT": str(self.health_ports[name])}
        self.parts[name] = parts.Part(name, self.settings, more=own)

    def produce(self, *commands: producing.GivenCommand) -> None:
        with bootstrap.command_sender(self.settings) as sender:
            for command in commands:
                sender.send(command)

    def wait_for(self, condition: str) -> None:
        """Wait until a condition in SQL holds."""
        waiting.wait_until(lambda: bool(self._ask(f"SELECT {condition}")), deadline_s=parts.DEADLINE_S)

    def _ask(self, query: str) -> object:
        with self.database.connect() as connection:
            return connection.exec_driver_sql(query).scalar_one()

    def execute(self, statement: str) -> None:
        with self.database.begin() as connection:
            connection.execute(sqlalchemy.text(statement))


@contextlib.contextmanager
def watched(endpoints: devstack.Endpoints, *, prefix: str | None = None) -> Iterator[Watched]:
    """Set up an installation of its own, and start all that is needed; topics begin with the database's name, or so."""
    with databases.fresh(endpoints) as database:
        named = {} if prefix is None else {"topic_prefix": prefix}
        settings = databases.settings_in(
            database,
            endpoints,
            consumer_instance_id="worker-1",
            session_timeout_ms=30_000,  # as long as it is told that a killed worker is missed
            grace_s=0.2,
            max_retries=0,
            console_token=TOKEN,
            **named,
        )
        bootstrap.initialise(settings, on_progress=lambda _text: None)
        one, other = ports.pick(2)
        system = Watched(settings, database, {"worker": one, "relay": other})
        try:
            _start(system)
            yield system
        finally:
            for part in system.parts.values():
                part.process.kill()
                part.wait()


def _start(system: Watched) -> None:
    for name in system.health_ports:
        system.start(name)
    asked = {name: f"http://127.0.0.1:{port}" for name, port in system.health_ports.items()}
    system.parts["console"] = parts.Part(
        "console", system.settings, more={"ALLOCATION_CONSOLE_PARTS": json.dumps(asked)}
    )
    system.url = system.parts["console"].logged("console.listening")["url"]
    system.parts["worker"].logged("worker.assigned")


def a_batch(ref: str, sku: str, qty: int, eta: str | None = None) -> producing.GivenCommand:
    return producing.GivenCommand("CreateBatch", {"ref": ref, "sku": sku, "qty": qty, "eta": eta})


def an_order(orderid: str, sku: str, qty: int = 1) -> producing.GivenCommand:
    return producing.GivenCommand("Allocate", {"orderid": orderid, "sku": sku, "qty": qty})


def a_change(ref: str, qty: int, sku: str | None = None) -> producing.GivenCommand:
    return producing.GivenCommand("ChangeBatchQuantity", {"batchref": ref, "qty": qty, "sku": sku})
