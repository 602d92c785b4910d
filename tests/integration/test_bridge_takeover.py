from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e import parts
from tests.integration import bridge_outside as outside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import config


def an_allocate(orderid: str) -> dict[str, object]:
    return {"orderid": orderid, "sku": "LAMP", "qty": 3}


@pytest.fixture
def programs(initialised: config.Settings) -> Iterator[outside.Programs]:
    with outside.programs(initialised) as programs:
        yield programs


@pytest.fixture
def commands(initialised: config.Settings) -> Iterator[outside.Watcher]:
    with outside.watching(initialised, "allocate") as watcher:
        yield watcher


@pytest.fixture
def active(initialised: config.Settings) -> Iterator[parts.Part]:
    with parts.running("bridge", initialised) as process:
        process.logged("bridge.inbound.subscribed")
        yield process


@pytest.fixture
def standby(initialised: config.Settings, active: parts.Part) -> Iterator[parts.Part]:
    del active  # it is there first
    with parts.running("bridge", initialised) as process:
        process.logged("bridge.standby")
        yield process


def orderids(watcher: outside.Watcher, count: int) -> list[str]:
    return [watcher.decode(record)["orderid"] for record in watcher.next(count)]


def test_a_standby_takes_over_from_a_bridge_that_was_killed(
    programs: outside.Programs, commands: outside.Watcher, active: parts.Part, standby: parts.Part
) -> None:
    programs.publish("allocate", an_allocate("o1"))
    assert orderids(commands, 1) == ["o1"]
    active.process.kill()
    standby.logged("bridge.inbound.subscribed")
    programs.publish("allocate", an_allocate("o2"))

    assert orderids(commands, 1) == ["o2"]


def test_a_bridge_that_is_told_to_stop_gives_its_place_to_the_standby(active: parts.Part, standby: parts.Part) -> None:
    assert active.stop() == 0
    standby.logged("bridge.inbound.subscribed")


def test_ctrl_c_stops_a_bridge_cleanly(active: parts.Part) -> None:
    active.process.send_signal(signal.SIGINT)

    assert active.wait() == 0
    assert "Traceback" not in "".join(active.said)


def test_a_bridge_that_wakes_up_after_its_lease_forwards_nothing(
    programs: outside.Programs, commands: outside.Watcher, active: parts.Part, standby: parts.Part
) -> None:
    programs.publish("allocate", an_allocate("o1"))
    assert orderids(commands, 1) == ["o1"]
    active.process.send_signal(signal.SIGSTOP)
    standby.logged("bridge.inbound.subscribed")
    for number in range(20):
        programs.publish("allocate", an_allocate(f"both hear {number}"))
    active.process.send_signal(signal.SIGCONT)
    active.logged("bridge.standby")

    assert orderids(commands, 20) == [f"both hear {number}" for number in range(20)]
    assert commands.sees_nothing_more()
