"""A partition has lost its end, as after a power cut or an unclean election; the database knows what was in it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import confluent_kafka
import pytest

from tests import waiting
from tests.chaos import processes, test_logs

if TYPE_CHECKING:
    from allocation import devstack
    from tests.chaos import system as systems
    from tests.chaos.oracle import workload as workloads


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("is_grown", [False, True], ids=["shorter", "grown again"])
def test_a_log_that_has_lost_its_end_is_set_aside(
    is_grown: bool,  # noqa: FBT001 - of the matrix
    breakable_stack: devstack.Stack,
    system: systems.System,
) -> None:
    """Once it has grown again only the record that was handled last can tell: another one lies in its place."""
    commands = system.workload("allocate")
    cut = lose_an_end(system, breakable_stack, commands, is_grown=is_grown)
    before = system.handled()[cut]
    worker = system.start("worker")
    test_logs.await_set_aside(worker, {cut})
    system.note("grown again, set aside" if is_grown else "shorter, set aside")
    test_logs.check_that_others_go_on(system, worker, commands, besides=cut, before=before)
    system.stop()
    system.check(blind_to=test_logs.WITHOUT_COMMANDS)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_worker_that_trusts_the_offset_of_a_log_that_has_grown_again_is_caught(
    breakable_stack: devstack.Stack, system: systems.System
) -> None:
    cut = lose_an_end(system, breakable_stack, system.workload("allocate"), is_grown=True)
    before = system.handled()[cut]
    system.is_broken = True
    worker = system.start("worker", variant="trusts_the_offset")
    system.drain()
    system.note("grown again")
    assert system.handled()[cut] > before
    assert test_logs.set_aside(worker) == set()
    system.stop()
    assert "model_agrees" in {violation.check for violation in system.violations()}


def lose_an_end(
    system: systems.System, stack: devstack.Stack, commands: workloads.Workload, *, is_grown: bool
) -> tuple[str, int]:
    """Have much handled, and half of a partition lost; return which one."""
    system.send(commands.first())
    for _ in range(10):  # what is sent at once is one batch of the log, and lost as a whole
        system.send(commands.take(20))
    worker = test_logs.start_both(system)
    system.drain()
    worker.stop()
    ends = system.log.ends(["allocate"])
    cut = max(ends, key=ends.__getitem__)
    cut_in_half(system, stack, *cut)
    assert 0 < system.log.ends(["allocate"])[cut] < ends[cut]
    if is_grown:
        grow(system, commands, cut, beyond=ends[cut])
    return cut


def cut_in_half(system: systems.System, stack: devstack.Stack, topic: str, partition: int) -> None:
    """Kill the broker and take away the second half of what it has of a partition; it drops what is left of a batch."""
    system.strike(stack.kafka)
    directory = stack.kafka.directory / "data" / f"{system.settings.topic_prefix}{topic}-{partition}"
    (only,) = directory.glob("*.log")
    os.truncate(only, only.stat().st_size // 2)
    stack.kafka.start()
    stack.kafka.wait_ready()
    system.log = system.new_log()
    waiting.wait_until(lambda: is_led(system, topic), deadline_s=processes.DEADLINE_S)


def is_led(system: systems.System, topic: str) -> bool:
    """Tell whether the partitions of a topic are served again; the broker says that it is up a moment before."""
    try:
        system.log.ends([topic])
    except confluent_kafka.KafkaException:
        return False
    return True


def grow(system: systems.System, commands: workloads.Workload, log: tuple[str, int], *, beyond: int) -> None:
    """Send until a log is longer than it was before it was cut."""
    while system.log.ends([log[0]])[log] <= beyond:
        system.send(commands.take(100))
