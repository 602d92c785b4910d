"""Two workers and two relays under a mixed load, each killed, stopped and halted again and again, as chance has it.

`pytest tests/chaos/test_soak.py --long --minutes 30 --seed 7`: the same seed makes the same commands and the same
choices; when they meet is for the machine to say.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.chaos.oracle import avro
from tests.chaos.oracle import workload as workloads
from tests.chaos.test_kill_points import RELAY, WORKER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos import processes
    from tests.chaos import system as systems

POINTS = {"worker": WORKER, "relay": RELAY}
LONGEST_LIFE_S = 4.0
LONGEST_AWAKENING_S = 0.5
REPOSITORY = Path(__file__).parents[2]


class Turn(NamedTuple):
    """Who is replaced, how it ends, what its heir dies or halts of, and how long all others are left in peace."""

    name: str
    number: int
    awakes: bool
    """Whether the old one, had it halted, wakes up first and lives on for `awake_s`."""
    awake_s: float
    kill_point: str | None
    life_s: float


def turns(seed: int, *, longest_life_s: float = LONGEST_LIFE_S) -> Iterator[Turn]:
    """Draw all that chance decides, the same for each turn: nothing follows from what happened meanwhile."""
    chance = random.Random(seed)
    while True:
        name = chance.choice(list(POINTS))
        yield Turn(
            name,
            number=chance.randrange(2),
            awakes=chance.random() < 0.5,
            awake_s=chance.uniform(0, LONGEST_AWAKENING_S),
            kill_point=a_kill_point(name, chance),
            life_s=chance.uniform(0, longest_life_s),
        )


def a_kill_point(name: str, chance: random.Random) -> str | None:
    """Choose where a part dies or halts, if anywhere."""
    point = chance.choice((None, *POINTS[name]))
    times, how = chance.randint(1, 5), chance.choice(("", ":stop"))
    return point and f"{point}:{times}{how}"


@pytest.mark.long
@pytest.mark.timeout(0)
def test_soak(system: systems.System, pytestconfig: pytest.Config) -> None:
    commands = system.workload("mixed")
    system.send(commands.first())
    parts: dict[tuple[str, int], processes.Part] = {}
    end = time.monotonic() + 60 * float(pytestconfig.getoption("--minutes"))
    with system.under_load(commands):
        for turn in turns(system.seed):
            if time.monotonic() > end:
                break
            take(turn, system, parts)
    system.kill_all()
    system.note(f"{system.started} lives")
    system.start("worker")
    system.start("relay")
    system.send(commands.rest())
    system.verify()


def take(turn: Turn, system: systems.System, parts: dict[tuple[str, int], processes.Part]) -> None:
    """Put another in the place of a part, and leave all in peace for as long as the turn says."""
    place = (turn.name, turn.number)
    if place in parts:
        put_an_end_to(parts[place], turn)
    parts[place] = system.start(
        turn.name, kill_point=turn.kill_point, settings={"consumer_instance_id": f"soak-{turn.number}"}
    )
    threading.Event().wait(turn.life_s)


def put_an_end_to(part: processes.Part, turn: Turn) -> None:
    """Kill one that still lives; one that was halted wakes up first, perhaps."""
    if turn.awakes:
        part.thaw()
        threading.Event().wait(turn.awake_s)
    if part.is_running:
        part.kill()


def choices(seed: int) -> tuple[list[Turn], list[workloads.Draft]]:
    """Return all that a soak of this seed begins with: turns, and commands in slices as they are sent."""
    commands = workloads.Workload(seed=seed, mix="mixed", schema_ids=dict.fromkeys(avro.NAMES, 1))
    sent = commands.first()
    for _ in range(100):
        sent += commands.take(15)
    return list(itertools.islice(turns(seed), 500)), sent


def choices_of_another_run(seed: int, *, hashing: int) -> str:
    """Return what another process says that chance decides; the order of its sets is another."""
    program = f"from tests.chaos import test_soak; print(test_soak.choices({seed}))"
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONHASHSEED": str(hashing)},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()


def test_the_same_seed_makes_the_same_choices_in_each_run_and_another_seed_makes_others() -> None:
    chosen, sent = choices(7)
    for hashing in (1, 2):
        assert choices_of_another_run(7, hashing=hashing) == str((chosen, sent))
    others, others_sent = choices(8)
    assert others != chosen
    assert others_sent != sent


def test_every_choice_comes_up() -> None:
    chosen, _ = choices(7)
    assert {(turn.name, turn.number) for turn in chosen} == {(name, number) for name in POINTS for number in range(2)}
    points = {point for points in POINTS.values() for point in points}
    found = {(turn.kill_point or "::").partition(":")[0] for turn in chosen}
    assert found == points | {""}
    assert {turn.awakes for turn in chosen} == {(turn.kill_point or "").endswith(":stop") for turn in chosen}
