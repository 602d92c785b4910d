"""Each committed row reaches its topic once, in the order of its sku, whatever happens to relays."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from allocation.service_layer import kill_points
from tests import outbox_load, waiting
from tests.e2e import parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation import devstack
    from tests.chaos import matrix
    from tests.outbox_load import Load

DURATION_S = 20.0  # for which each test of chance goes on


@pytest.fixture(scope="module")
def installation(endpoints: devstack.Endpoints) -> Iterator[Load]:
    """One installation for all tests here: each goes on where the one before has left it."""
    with outbox_load.an_installation(endpoints) as load:
        yield load


def finish(load: Load, cell: matrix.Row, *, reached: str, kills: int) -> None:
    """Let a last relay send what is left, and check what was published."""
    with parts.running("relay", load.settings) as relay:
        load.wait_until_sent()
        assert relay.stop() == 0
    load.check_published()
    cell.workload, cell.reached, cell.kills, cell.violations = "rows of 40 skus", reached, kills, 0


KILL_POINTS = (
    "relay.after_produce",
    "relay.before_commit",
    "relay.after_commit",
    "relay.during_recovery",
    "relay.after_commit:3",
    "relay.after_delete",
)


def test_relays_that_are_killed_between_any_two_steps_lose_and_repeat_nothing(
    installation: Load, cell: matrix.Row
) -> None:
    with installation.writing():
        for point in KILL_POINTS:
            with parts.running("relay", installation.settings, more={kill_points.VARIABLE: point}) as relay:
                assert relay.wait() == -signal.SIGKILL, point
            installation.check_published_so_far()
    finish(installation, cell, reached=", ".join(KILL_POINTS), kills=len(KILL_POINTS))


def test_a_relay_that_wakes_up_between_two_steps_finds_itself_superseded(installation: Load, cell: matrix.Row) -> None:
    points = ("relay.before_commit", "relay.after_commit")
    with installation.writing():
        for point in points:
            with parts.running(
                "relay", installation.settings, more={kill_points.VARIABLE: f"{point}:1:stop"}
            ) as zombie:
                assert zombie.logged("kill_point.reached")["name"] == point
                with parts.running("relay", installation.settings) as successor:
                    successor.logged("relay.active")
                    zombie.process.send_signal(signal.SIGCONT)
                    zombie.logged("relay.superseded")
                    assert zombie.stop() == 0
                    assert successor.stop() == 0
            installation.check_published_so_far()
    finish(installation, cell, reached=", ".join(points), kills=len(points))


@pytest.mark.long
def test_a_relay_that_is_killed_at_any_moment_loses_and_repeats_nothing(
    installation: Load, cell: matrix.Row, seed: int
) -> None:
    chance = random.Random(seed)
    kills = 0
    end = time.monotonic() + DURATION_S
    with installation.writing():
        while time.monotonic() < end:
            with parts.running("relay", installation.settings) as relay:
                relay.logged("relay.active")
                threading.Event().wait(chance.uniform(0, 0.3))
            kills += relay.process.returncode == -signal.SIGKILL
    assert kills
    finish(installation, cell, reached="any moment", kills=kills)


@pytest.mark.long
def test_a_relay_that_sleeps_and_wakes_up_after_another_took_over_loses_and_repeats_nothing(
    installation: Load, cell: matrix.Row, seed: int
) -> None:
    chance = random.Random(seed)
    halts = 0
    end = time.monotonic() + DURATION_S
    with (
        installation.writing(),
        parts.running("relay", installation.settings) as one,
        parts.running("relay", installation.settings) as other,
    ):
        pids = {one.process.pid, other.process.pid}
        waiting.wait_until(lambda: bool(one.said and other.said), deadline_s=30)
        while time.monotonic() < end:
            threading.Event().wait(chance.uniform(0, 0.3))
            sleeper = installation.owner_pid()
            assert sleeper is not None
            os.kill(sleeper, signal.SIGSTOP)
            waiting.wait_until(lambda: installation.owner_pid() in pids - {sleeper}, deadline_s=30)  # noqa: B023 - called at once
            os.kill(sleeper, signal.SIGCONT)
            halts += 1
        assert one.stop() == 0
        assert other.stop() == 0
    assert halts
    finish(installation, cell, reached="any moment", kills=halts)
