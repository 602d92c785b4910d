"""Within five seconds of a fault console and `top` name it: with the settings that `allocation run` has by default."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from allocation import bootstrap
from allocation.devstack import ports
from tests import databases
from tests.chaos import system as systems
from tests.chaos.oracle import avro
from tests.chaos.oracle import workload as workloads
from tests.e2e import spectators

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from allocation import devstack
    from tests.chaos import processes

pytestmark = pytest.mark.long

WITHIN_S = 5.0
FAILS_FOR = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.sku = 'POISON' THEN RAISE EXCEPTION 'a bug'; END IF; RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE INSERT ON order_lines FOR EACH ROW EXECUTE FUNCTION fail()
"""


class World:
    """All parts under `allocation run`, and those who watch."""

    def __init__(
        self, system: systems.System, run: processes.Part, watching: tuple[spectators.Spectator, spectators.Spectator]
    ) -> None:
        self.system = system
        self.watching = watching
        self._run = run
        self._numbers = iter(range(1000))

    def pid(self, part: str) -> int:
        return next(int(line["pid"]) for line in reversed(self._run.lines("run.part_started")) if line["part"] == part)

    def order(self, sku: str) -> None:
        fields = {"orderid": f"o{next(self._numbers)}", "sku": sku, "qty": 1}
        value = avro.encode("allocate", fields, self.system.schema_ids["allocate"])
        self.system.send([workloads.Draft("allocate", sku.encode(), value, (), "order")])

    def assert_named(self, since_s: float, what: str, *words: str) -> None:
        """Wait until all who watch are told that something of this name is wrong, and in these words."""

        def is_told(overview: dict[str, Any]) -> bool:
            return any(one["what"] == what and all(word in one["text"] for word in words) for one in overview["alarms"])

        self._assert_shown(since_s, is_told, WITHIN_S)

    def assert_well_again(self, what: str) -> None:
        """Wait until nothing is wrong, and it is still told what was."""

        def is_well(overview: dict[str, Any]) -> bool:
            return not overview["alarms"] and any(one["what"] == what for one in overview["lately"])

        self._assert_shown(time.monotonic(), is_well, 30.0)

    def _assert_shown(self, since_s: float, condition: Callable[[dict[str, Any]], bool], deadline_s: float) -> None:
        for one in self.watching:
            frame = one.wait_since(since_s, condition, deadline_s=deadline_s)
            assert frame.at_s - since_s <= deadline_s, one.name


@pytest.fixture(scope="module")
def world(endpoints: devstack.Endpoints, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    http, console = ports.pick(2)
    with databases.fresh(endpoints) as database:
        settings = databases.settings_in(database, endpoints, http_port=http, console_port=console)
        bootstrap.initialise(settings, on_progress=lambda _text: None)
        with systems.running(settings, directory=tmp_path_factory.mktemp("visibility"), seed=1) as system:
            run = system.start("run")
            run.await_line("worker.assigned")
            run.await_line("console.listening")
            system.send([a_batch(system, sku) for sku in ("LAMP", "POISON")])
            with (
                spectators.of_console(f"http://127.0.0.1:{console}") as page,
                spectators.of_top(settings) as top,
            ):
                for one in (page, top):
                    one.wait_for(lambda overview: overview["status"]["ok"] and overview["status"]["members"])
                yield World(system, run, (page, top))


def a_batch(system: systems.System, sku: str) -> workloads.Draft:
    fields = {"ref": f"batch of {sku}", "sku": sku, "qty": 1000, "eta": None}
    value = avro.encode("create_batch", fields, system.schema_ids["create_batch"])
    return workloads.Draft("create_batch", sku.encode(), value, (), "stock")


def test_a_poisoned_sku_is_named_with_its_error_and_what_waits_behind_it(world: World) -> None:
    world.system.tables.execute(FAILS_FOR)
    began = time.monotonic()
    for _ in range(3):
        world.order("POISON")
    world.assert_named(began, "sku:POISON", "is poisoned", "a bug", "2 commands wait behind it")
    world.system.tables.execute("DROP TRIGGER fail ON order_lines")
    spectators.printed(world.system.settings, "parked", "release", "--state", "poisoned", "--why", "mended")
    world.assert_well_again("sku:POISON")


def test_a_relay_that_stands_still_while_rows_arrive_is_named_with_their_age(world: World) -> None:
    pid = world.pid("relay")
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        world.order("LAMP")
        world.assert_named(began, "relay-0", "rows wait in the outbox, the oldest for")
    finally:
        os.kill(pid, signal.SIGCONT)
    world.assert_well_again("relay-0")


def test_a_killed_worker_is_named_even_when_nothing_waits_for_it_and_it_is_back_at_once(world: World) -> None:
    began = time.monotonic()
    os.kill(world.pid("worker"), signal.SIGKILL)
    world.assert_named(began, "worker", "was killed")
    world.assert_well_again("worker")
