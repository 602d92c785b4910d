"""How soon the partitions of a worker that was killed are handled again, without gap or duplicate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests import waiting
from tests.e2e import floods, parts

if TYPE_CHECKING:
    from allocation import config
    from tests.chaos import matrix

PARTITIONS = 6
# Promised with the settings that are the default: see docs/guarantees.md. The first counts from when the process is up:
# until then it is Python's start that takes a second, and on a busy machine any time; the table shows both.
RESTART_S = 2.0
TAKEOVER_S = 10.0
# In the short run, beside other tests, a longer deadline tells as well: without what is tested here, it would take as
# long as this session.
PATIENCE_S = 30.0
LONG_SESSION_MS = 60_000


class Orders:
    """Lines for one sku on each partition, so that every partition must be handled."""

    def __init__(self, flood: floods.Flood) -> None:
        self._flood = flood
        self.count = 0

    def place(self, each: int = 20) -> None:
        for partition in range(PARTITIONS):
            self._flood.allocate("LAMP", self.count, each, partition=partition)
            self.count += each


def all_handled_since(began: float, flood: floods.Flood, deadline_s: float) -> float:
    """Wait until everything is handled, and return how many seconds after `began` that was."""
    flood.await_handled(deadline_s=deadline_s)
    return time.monotonic() - began


def settle(flood: floods.Flood, orders: Orders, cell: matrix.Row) -> None:
    """Fail if there is a gap or a duplicate."""
    cell.workload, cell.commands, cell.kills = "a sku on all partitions", flood.sent, 1
    flood.assert_settled(lines=orders.count)
    cell.violations = 0


def members(settings: config.Settings, **more: object) -> config.Settings:
    return settings.model_copy(update={"batch_size": 10, **more})


def test_a_killed_worker_that_restarts_under_its_name_goes_on_at_once(
    initialised: config.Settings, pytestconfig: pytest.Config, cell: matrix.Row
) -> None:
    named = members(initialised, consumer_instance_id="only")
    deadline_s = RESTART_S
    if not pytestconfig.getoption("--long"):
        named, deadline_s = members(named, session_timeout_ms=LONG_SESSION_MS), PATIENCE_S
    with floods.flood(named) as flood:
        flood.create("LAMP")
        orders = Orders(flood)
        orders.place()
        with parts.running("worker", named) as worker:
            worker.logged("worker.batch")
            worker.process.kill()
        orders.place()
        began = time.monotonic()
        with parts.running("worker", named) as worker:
            worker.logged("worker.started")
            ready = time.monotonic()
            total_s = all_handled_since(began, flood, PATIENCE_S)
            own_s = time.monotonic() - ready
        cell.reached = f"{total_s:.2f} s, of them {own_s:.2f} s after the process was up"
        settle(flood, orders, cell)
    assert own_s < deadline_s


@pytest.mark.long
@pytest.mark.parametrize(
    ("protocol", "names"),
    [("classic", (None, None)), ("classic", ("one", "two")), ("consumer", (None, None)), ("consumer", ("one", "two"))],
    ids=["classic dynamic", "classic static", "KIP-848 dynamic", "KIP-848 static"],
)
def test_another_worker_takes_over_from_one_that_was_killed(
    initialised: config.Settings, protocol: str, names: tuple[str | None, str | None], cell: matrix.Row
) -> None:
    settings = [members(initialised, group_protocol=protocol, consumer_instance_id=name) for name in names]
    with floods.flood(initialised) as flood:
        flood.create("LAMP")
        orders = Orders(flood)
        with parts.running("worker", settings[0]) as first, parts.running("worker", settings[1]) as second:
            half = 3 * PARTITIONS // 2  # of three topics
            waiting.wait_until(lambda: parts.share(first) == parts.share(second) == half, deadline_s=parts.DEADLINE_S)
            assert_of_one_owner(first, second)
            orders.place()
            first.process.kill()
            began = time.monotonic()
            orders.place()
            took_s = all_handled_since(began, flood, 2 * TAKEOVER_S)
        cell.reached = f"{took_s:.2f} s"
        settle(flood, orders, cell)
    assert took_s < TAKEOVER_S


@pytest.mark.long
@pytest.mark.parametrize("name", [None, "only"], ids=["dynamic", "static"])
def test_a_killed_worker_that_restarts_under_kip_848_goes_on_when_its_session_is_over(
    initialised: config.Settings, name: str | None, cell: matrix.Row
) -> None:
    settings = members(initialised, group_protocol="consumer", consumer_instance_id=name)
    with floods.flood(settings) as flood:
        flood.create("LAMP")
        orders = Orders(flood)
        orders.place()
        with parts.running("worker", settings) as worker:
            worker.logged("worker.batch")
            worker.process.kill()
        orders.place()
        began = time.monotonic()
        restarts = 0
        while flood.handled < flood.sent:  # as a supervisor would: a name that is still in use is fatal
            restarts += 1
            with parts.running("worker", settings) as worker:
                waiting.wait_until(
                    lambda: flood.handled >= flood.sent or worker.process.poll() is not None,
                    deadline_s=TAKEOVER_S,
                )
            assert time.monotonic() - began < TAKEOVER_S
        took_s = time.monotonic() - began
        cell.reached = f"{took_s:.2f} s, started {restarts} times"
        settle(flood, orders, cell)


def assert_of_one_owner(*workers: parts.Part) -> None:
    """Fail if a worker has a partition of one topic without those of its number of the others.

    Who gave up a part is not asked: it tells how many, not which.
    """
    newcomers = [
        worker for worker in workers if all(line["event"] != "worker.revoked" for line in parts.assignments(worker))
    ]
    assert newcomers
    for worker in newcomers:
        topics_by_number: dict[str, set[str]] = {}
        for line in parts.assignments(worker):
            for place in line["at"]:
                topic, _, number = place.rpartition("/")
                topics_by_number.setdefault(number, set()).add(topic)
        assert {len(topics) for topics in topics_by_number.values()} == {3}, topics_by_number
