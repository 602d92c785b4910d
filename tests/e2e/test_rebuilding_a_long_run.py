"""A long live run with everything in it that can happen, killed again and again; a rebuild gives the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocation import bootstrap
from allocation.bootstrap import rebuilding
from tests import waiting
from tests.chaos import system as systems
from tests.chaos import test_soak
from tests.integration import operator_commands, settled, test_parked_operation, test_rebuilding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from allocation import config
    from tests.chaos import processes
    from tests.chaos.oracle import workload as workloads

FIXED_SEED = 1
LIVES = 100  # of workers and relays, most of them cut short
LONGEST_LIFE_S = 3.0
CATCHING_UP_S = 900.0

# An order that meets a bug, one that keeps its place behind it, one that waits for a batch and is given up, and one
# that waits until its grace is over.
LAMPS: list[settled.Given] = [("CreateBatch", {"ref": "lamps", "sku": "LAMP", "qty": 9, "eta": None}, "lamps")]
TROUBLE: list[settled.Given] = [
    ("Allocate", {"orderid": "cursed", "sku": "LAMP", "qty": 1}, "cursed"),
    ("Allocate", {"orderid": "behind", "sku": "LAMP", "qty": 1}, "behind"),
    ("Allocate", {"orderid": "hopeless", "sku": "NEVER", "qty": 1}, "hopeless"),
    ("Allocate", {"orderid": "late", "sku": "LATE", "qty": 1}, "late"),
]
SKIPPED: list[settled.Given] = [("Allocate", {"orderid": "skipped", "sku": "LAMP", "qty": 1}, "skipped")]
TARDY: list[settled.Given] = [("CreateBatch", {"ref": "tardy", "sku": "LATE", "qty": 9, "eta": None}, "tardy")]


@pytest.fixture
def system(settings: config.Settings, tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[systems.System]:
    hasty = settings.model_copy(
        update={
            "batch_size": 300,
            "grace_s": 2.0,
            "max_retries": 0,
            "session_timeout_ms": 3000,
            "relay_lease_s": 1.0,
            "refusal_limit": 1.0,
        }
    )
    bootstrap.initialise(hasty, on_progress=lambda _text: None)
    seed = pytestconfig.getoption("--seed") or FIXED_SEED
    with systems.running(hasty, directory=tmp_path, seed=seed) as running:
        yield running


@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_rebuild_of_a_long_run_that_was_killed_many_times_gives_its_rows(
    system: systems.System, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = int(pytestconfig.getoption("--commands"))
    commands = system.workload("mixed")
    system.send(commands.first())
    handle_under_fire(system, commands, count=count // 2)
    let_an_operator_decide(system, monkeypatch)
    handle_under_fire(system, commands, count=count - count // 2)
    system.stop()
    kills = system.kills
    assert kills > min(LIVES, count // 1000) // 4, "it was hardly disturbed"

    with rebuilding.rebuilder(system.settings, rebuilding.Wish(into="trial")) as rebuilder:
        summary = rebuilder.run(rebuilder.plan(ignore), ignore)
    assert (summary.is_exact, summary.uncovered) == (True, 0)
    expected = {
        "handled", "duplicate", "refused", "waited", "released", "expired", "poisoned", "queued", "discarded",
        "skipped",
    }  # fmt: skip
    assert {what for what, number in summary.counts.items() if number} >= expected, summary.counts
    assert test_rebuilding.rows(system.settings, "trial") == test_rebuilding.rows(system.settings, "public")
    operator = operator_commands.Commands(system.settings)
    compared = operator.run("replay", "compare", "trial")
    assert compared.returncode == 0, compared.stdout
    verified = operator.run("verify")
    assert verified.returncode == 0, verified.stdout
    print(f"{system.sent} commands, {kills} kills, {dict(summary.counts)}")  # noqa: T201 - for whoever runs it


def handle_under_fire(system: systems.System, commands: workloads.Workload, *, count: int) -> None:
    """Send commands while two workers and two relays are killed, halted and replaced; at the end let all be handled."""
    lives = max(4, min(LIVES // 2, count // 500))
    parts: dict[tuple[str, int], processes.Part] = {}
    turns = test_soak.turns(system.seed, longest_life_s=LONGEST_LIFE_S)
    for number, turn in zip(range(lives), turns, strict=False):
        system.send(commands.take(count * (number + 1) // lives - count * number // lives))
        test_soak.take(turn, system, parts)
    system.kill_all()
    system.send(commands.rest())
    system.start("worker")
    system.start("relay")
    system.drain(deadline_s=CATCHING_UP_S)
    system.stop()


def let_an_operator_decide(system: systems.System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command fail and be released, one be discarded, one expire and be redriven, and one be skipped."""
    operator = operator_commands.Commands(system.settings)
    patient = system.settings.model_copy(update={"grace_s": 600.0})
    with monkeypatch.context() as patch, settled.running(patient):
        test_parked_operation.curse(patch, "cursed")
        for given in (LAMPS, TROUBLE):
            settled.send(patient, given)
            system.drain(parked=False)
    succeed(operator, "parked", "release", "--sku", "LAMP", "--why", "the bug is mended")
    succeed(operator, "parked", "discard", "--sku", "NEVER", "--why", "never meant")
    test_rebuilding.execute(system.settings, "UPDATE parked SET expires_at = now()")
    settled.send(system.settings, SKIPPED)
    (skipped,) = [
        (partition, end)
        for (topic, partition), end in system.log.ends(["allocate"]).items()
        if system.handled().get((topic, partition), 0) < end
    ]
    place = ("allocate", "--partition", str(skipped[0]), "--to-offset", str(skipped[1]))
    succeed(operator, "replay", "skip", *place, "--why", "sent by mistake")
    with settled.running(system.settings):
        system.drain()
        settled.send(system.settings, TARDY)
        system.drain()
        succeed(operator, "dlq", "redrive", "--sku", "LATE", "--why", "its batch is there now")
        waiting.wait_until(lambda: is_allocated(system, "late"), deadline_s=60)
        system.drain()
    assert is_allocated(system, "cursed")
    assert is_allocated(system, "behind")
    assert not is_allocated(system, "skipped")


def is_allocated(system: systems.System, orderid: str) -> bool:
    return bool(system.tables.rows(f"SELECT FROM order_lines WHERE orderid = '{orderid}'"))


def succeed(operator: operator_commands.Commands, *arguments: str) -> None:
    result = operator.run(*arguments)
    assert result.returncode == 0, result.stdout + result.stderr


def ignore(_what: str, _done: int, _total: int) -> None:
    pass
