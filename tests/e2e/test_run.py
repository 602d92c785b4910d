"""`allocation run`: all parts under one supervisor, through crashes and to a clean end."""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from allocation import bootstrap
from allocation.devstack import ports
from allocation.service_layer.operations import producing
from tests import waiting
from tests.e2e import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from allocation import config

PARTS = {"relay", "worker", "maintenance", "bridge", "api"}


class Running:
    """The supervisor, and a descriptor of each process that it has started, readable once that has ended."""

    def __init__(self, supervisor: parts.Part) -> None:
        self.supervisor = supervisor
        started = [supervisor.logged("run.part_started") for _ in PARTS]
        self.pids: Mapping[str, int] = {line["part"]: line["pid"] for line in started}
        self._ends = [os.pidfd_open(pid) for pid in self.pids.values()]

    def first(self, event: str) -> dict[str, Any]:
        """Wait for the first log line of this event, which may have come before one that was waited for."""

        def found() -> list[dict[str, Any]]:
            lines = [json.loads(text) for text in tuple(self.supervisor.said) if text.startswith("{")]
            return [line for line in lines if line["event"] == event]

        waiting.wait_until(lambda: bool(found()), deadline_s=parts.DEADLINE_S)
        return found()[0]

    def assert_all_end(self) -> None:
        for end in self._ends:
            assert select.select([end], [], [], parts.DEADLINE_S)[0]

    def close(self) -> None:
        for end in self._ends:
            os.close(end)


@contextlib.contextmanager
def started(settings: config.Settings) -> Iterator[Running]:
    with parts.running("run", settings) as supervisor:
        running = Running(supervisor)
        try:
            yield running
        finally:
            running.close()


def produce(settings: config.Settings, *commands: producing.GivenCommand, ago_s: float = 0.0) -> None:
    """Send them now, with a time as if they had been made before."""
    with bootstrap.command_sender(settings) as sender:
        sender._now = lambda: datetime.now(UTC) - timedelta(seconds=ago_s)  # noqa: SLF001 - the clock of a test
        for command in commands:
            sender.send(command)


def a_batch() -> producing.GivenCommand:
    return producing.GivenCommand("CreateBatch", {"ref": "b1", "sku": "LAMP", "qty": 10})


def an_order(orderid: str) -> producing.GivenCommand:
    return producing.GivenCommand("Allocate", {"orderid": orderid, "sku": "LAMP", "qty": 1})


def allocated(settings: config.Settings, count: int) -> list[str]:
    """Wait for so many allocated lines in all, and return their orders."""
    options = ("--from-beginning", "--max", str(count), "--timeout", f"{parts.DEADLINE_S:g}")
    tail = subprocess.run(
        [sys.executable, "-m", "allocation", "tail", "line_allocated", *options],
        env=os.environ | parts.environment(settings),
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.partition('"orderid": "')[2].partition('"')[0] for line in tail.stdout.splitlines()]


def status(settings: config.Settings) -> dict[str, Any]:
    shown = subprocess.run(
        [sys.executable, "-m", "allocation", "status", "--json"],
        env=os.environ | parts.environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, Any] = json.loads(shown.stdout)
    return {
        "ok": found["ok"],
        "lag": found["lag"],
        "outbox": found["outbox"] and found["outbox"]["rows"],
        "members": [(member["name"], member["partitions"]) for member in found["members"] or ()],
        "owners": set(found["owners"] or ()),
        "is maintained": found["maintained_at"] is not None,
    }


def four_free_ports() -> int:
    """Return the first of four free ports in a row."""
    return next(port for port in ports.pick(50) if all(map(ports.is_free, range(port, port + 4))))


def is_ready(port: int) -> bool:
    try:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:  # nobody listens there yet
        return False


def sample(name: str, port: int) -> float:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def test_it_does_the_whole_work_restarts_what_dies_and_stops_cleanly(initialised: config.Settings) -> None:
    first_port = four_free_ports()
    with started(initialised.model_copy(update={"health_port": first_port})) as running:
        assert running.pids.keys() == PARTS
        worker = running.first("worker.started")
        assert worker["instance"].startswith(f"{socket.gethostname()}-")
        produce(initialised, a_batch(), an_order("o1"), ago_s=10)
        assert allocated(initialised, 1) == ["o1"]
        # An event is seen before its row is gone from the outbox, and the last parts may not be up yet.
        waiting.wait_until_equal(
            lambda: status(initialised),
            {
                "ok": True,
                "lag": 0,
                "outbox": 0,
                "members": [(worker["instance"], 18)],
                "owners": {"relay-0", "bridge", "maintenance"},
                "is maintained": True,
            },
            deadline_s=parts.DEADLINE_S,
        )
        for port in range(first_port, first_port + 4):
            waiting.wait_until(functools.partial(is_ready, port), deadline_s=parts.DEADLINE_S)
        count, sum_s = (sample(f"allocation_end_to_end_seconds_{name}", first_port + 1) for name in ("count", "sum"))
        assert 10 <= sum_s / count < 10 + parts.DEADLINE_S

        os.kill(running.pids["worker"], signal.SIGKILL)
        assert running.supervisor.logged("run.part_died")["part"] == "worker"
        assert running.supervisor.logged("worker.started")["instance"] == worker["instance"]
        produce(initialised, an_order("o2"))
        assert allocated(initialised, 2) == ["o1", "o2"]

        assert running.supervisor.stop() == 0
        running.assert_all_end()
    assert '"run.part_not_stopped"' not in "".join(running.supervisor.said)


def test_nothing_outlives_a_supervisor_that_is_killed(initialised: config.Settings) -> None:
    with started(initialised) as running:
        running.supervisor.process.kill()
        running.assert_all_end()


def test_a_second_signal_ends_everything_at_once(initialised: config.Settings) -> None:
    with started(initialised) as running:
        running.supervisor.logged("worker.assigned")
        running.supervisor.process.send_signal(signal.SIGINT)
        running.supervisor.process.send_signal(signal.SIGTERM)
        # Sent together, they may arrive in either order.
        assert running.supervisor.wait() in (128 + signal.SIGTERM, 128 + signal.SIGINT)
        running.assert_all_end()


def test_before_init_it_says_what_to_do_and_gives_up(settings: config.Settings) -> None:
    with parts.running("run", settings) as supervisor:
        assert supervisor.wait() == 2
    said = "".join(supervisor.said)
    assert "run `allocation init`" in said
    assert "Traceback" not in said


def test_the_workers_name_may_be_chosen(initialised: config.Settings) -> None:
    with started(initialised.model_copy(update={"consumer_instance_id": "mine"})) as running:
        assert running.first("worker.started")["instance"] == "mine"
