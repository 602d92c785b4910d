"""A part is killed at each of its kill points, under each kind of load; nothing is lost, repeated or out of order."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.chaos.oracle import avro, workload

if TYPE_CHECKING:
    from tests.chaos import system as systems

BACKLOG = 100
DEATHS = 3

WORKER = (
    "worker.before_handling",
    "worker.after_handling",
    "worker.before_commit",
    "worker.after_commit",
    "worker.during_rebalance",
)
RELAY = (
    "relay.after_produce",
    "relay.before_commit",
    "relay.after_commit",
    "relay.after_delete",
    "relay.during_recovery",
)
MIXES = ("allocate", "storm", "mixed")
# What runs with every `make test`: the point where most can go wrong; for the relay's see `test_relay.py`.
SHORT = {("worker.after_commit", "storm")}
ONCE_A_RUN = {"worker.during_rebalance", "relay.during_recovery"}

CELLS = [
    pytest.param(point, mix, id=f"{point}-{mix}", marks=() if (point, mix) in SHORT else pytest.mark.long)
    for point in (*WORKER, *RELAY)
    for mix in MIXES
]


@pytest.mark.parametrize(("point", "mix"), CELLS)
def test_killed_at(point: str, mix: str, system: systems.System) -> None:
    chance = random.Random(system.seed)
    commands = system.workload(mix)
    victim, other = ("worker", "relay") if point in WORKER else ("relay", "worker")
    system.send(commands.first() + commands.take(BACKLOG))
    system.start(other)
    for _ in range(DEATHS):
        if point == "relay.during_recovery":  # from a pass that is sent, and not deleted yet
            system.die(system.start("relay", kill_point="relay.after_commit"), commands)
        nth = 1 if point in ONCE_A_RUN else chance.randint(1, 3)
        system.die(system.start(victim, kill_point=f"{point}:{nth}"), commands)
    system.start(victim)
    system.send(commands.take(BACKLOG) + commands.rest())
    system.verify()


@pytest.mark.parametrize("mix", workload.MIXES)
def test_a_mix_has_everything_that_it_names_and_is_the_same_for_the_same_seed(mix: str) -> None:
    ids = dict.fromkeys(avro.COMMANDS, 1)
    one, other = (workload.Workload(seed=1, mix=mix, schema_ids=ids) for _ in range(2))
    commands = one.first() + one.take(1000)
    assert {draft.why for draft in commands} >= set(workload.MIXES[mix].weights)
    assert commands == other.first() + other.take(1000)
