"""A worker is killed between the transactions in which a long queue is released."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests import waiting
from tests.chaos import processes

if TYPE_CHECKING:
    from tests.chaos import system as systems

WAITING = 9000  # for three skus: of each, more than one transaction releases together with its batch
DEATHS = 3
PATIENT = {"grace_s": 120.0, "batch_size": 2000}


@pytest.mark.long
def test_killed_between_the_chunks_of_a_release(system: systems.System) -> None:
    chance = random.Random(system.seed)
    commands = system.workload("plenty")
    batches = commands.first()
    system.send(commands.take(WAITING))
    system.start("relay")
    victim = system.start("worker", kill_point=f"worker.before_release:{chance.randint(1, 2)}", settings=PATIENT)
    waiting.wait_until(
        lambda: system.tables.rows("SELECT count(*) FROM parked") == [(WAITING,)], deadline_s=processes.DEADLINE_S
    )
    system.send(batches)
    for _ in range(DEATHS - 1):
        system.note(victim.await_kill_point())
        victim = system.start("worker", kill_point="worker.before_release", settings=PATIENT)
    system.note(victim.await_kill_point())
    system.send(commands.take(100))
    system.start("worker", settings=PATIENT)
    system.verify()
