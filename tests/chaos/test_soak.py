"""Two workers and two relays under a mixed load, each killed, stopped and halted again and again, as chance has it.

`pytest tests/chaos/test_soak.py --long --minutes 30 --seed 7`: the same seed makes the same commands and the same
choices; when they meet is for the machine to say.
"""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.chaos.test_kill_points import RELAY, WORKER

if TYPE_CHECKING:
    from tests.chaos import processes
    from tests.chaos import system as systems

POINTS = {"worker": WORKER, "relay": RELAY}
LONGEST_LIFE_S = 4.0


@pytest.mark.long
@pytest.mark.timeout(0)
def test_soak(system: systems.System, pytestconfig: pytest.Config) -> None:
    chance = random.Random(system.seed)
    commands = system.workload("mixed")
    system.send(commands.first())
    parts: dict[tuple[str, int], processes.Part] = {}
    end = time.monotonic() + 60 * float(pytestconfig.getoption("--minutes"))
    with system.under_load(commands):
        while time.monotonic() < end:
            place = (chance.choice(list(POINTS)), chance.randrange(2))
            if place in parts:
                put_an_end_to(parts[place], chance)
            parts[place] = replace(system, place, chance)
            threading.Event().wait(chance.uniform(0, LONGEST_LIFE_S))
    system.kill_all()
    system.note(f"{system.started} lives")
    system.start("worker")
    system.start("relay")
    system.send(commands.rest())
    system.verify()


def put_an_end_to(part: processes.Part, chance: random.Random) -> None:
    """One that still lives is killed, or told to stop; one that was halted wakes up first."""
    if chance.random() < 0.5:
        part.thaw()
        threading.Event().wait(chance.uniform(0, 0.5))
    if part.is_running:
        part.kill()


def replace(system: systems.System, place: tuple[str, int], chance: random.Random) -> processes.Part:
    """Start one that dies or halts at a point that chance has chosen, or nowhere."""
    name, number = place
    point = chance.choice((None, *POINTS[name]))
    how = chance.choice(("", ":stop"))
    return system.start(
        name,
        kill_point=point and f"{point}:{chance.randint(1, 5)}{how}",
        settings={"consumer_instance_id": f"soak-{number}"},
    )
