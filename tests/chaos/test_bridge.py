"""What comes in by Redis is forwarded at most once, and what was allocated goes out, whatever dies or wakes up."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests import waiting
from tests.chaos import processes, redis_programs

if TYPE_CHECKING:
    from allocation import devstack
    from tests.chaos import system as systems

POINTS = ("bridge.before_forward", "bridge.before_commit", "bridge.after_forward", "bridge.after_delivery")
DOWN_S = 2.0
_PAUSE = threading.Event()  # never set


def start_others(system: systems.System) -> None:
    system.start("relay")
    system.start("worker")
    system.send(system.workload("allocate").first())


@pytest.mark.long
@pytest.mark.parametrize("point", POINTS)
def test_bridge_killed_at(point: str, system: systems.System) -> None:
    start_others(system)
    with redis_programs.listening(system) as programs:
        victim = system.start("bridge", kill_point=f"{point}:2")
        programs.publish_until(victim)
        system.note(victim.await_kill_point())
        system.start("bridge")
        programs.await_bridge()
        programs.assert_forwarded(programs.publish(50))
        system.drain()
        programs.assert_heard()
        system.verify()
        programs.assert_none_twice()


@pytest.mark.long
@pytest.mark.parametrize("point", ["bridge.before_commit", "bridge.after_forward"])
def test_two_bridges_one_halted_until_the_other_is_killed(point: str, system: systems.System) -> None:
    """The zombie wakes up with a group in hand, and with all in its connection that its heir has forwarded."""
    start_others(system)
    with redis_programs.listening(system) as programs:
        zombie = system.start("bridge", kill_point=f"{point}:2:stop")
        programs.publish_until(zombie)
        system.note(zombie.await_halt())
        heir = system.start("bridge")
        heir.await_line("bridge.inbound.subscribed")
        orders = [*programs.publish(50)]
        zombie.thaw()
        orders += programs.publish(50)
        zombie.await_line("bridge.standby")
        orders += programs.publish(50)
        programs.assert_forwarded(orders)
        heir.kill()
        await_second(zombie, "bridge.inbound.subscribed")
        programs.assert_forwarded(programs.publish(50))
        system.drain()
        programs.assert_heard()
        system.verify()
        programs.assert_none_twice()


def await_second(part: processes.Part, event: str) -> None:
    waiting.wait_until(lambda: len(part.lines(event)) > 1, deadline_s=processes.DEADLINE_S)


@pytest.mark.long
def test_redis_killed_under_load(breakable_stack: devstack.Stack, system: systems.System) -> None:
    start_others(system)
    commands = system.workload("plenty")
    system.send(commands.first())
    bridge = system.start("bridge")
    with redis_programs.listening(system) as programs:
        programs.await_bridge()
        for _ in range(2):
            programs.assert_forwarded(programs.publish(50))
            with system.under_load(commands):
                system.strike(breakable_stack.redis)
                _PAUSE.wait(DOWN_S)
                breakable_stack.redis.start()
                breakable_stack.redis.wait_ready()
                programs.close()
                programs.connect()
                programs.await_bridge()
            orders = programs.publish(50)
            programs.assert_forwarded(orders)
            system.drain()
            programs.assert_heard(orders)
        assert bridge.is_running
        system.note("Redis by SIGKILL")
        system.verify()
        programs.assert_none_twice()
