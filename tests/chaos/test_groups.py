"""Workers come, go, die and wake up again under load, under both protocols of consumer groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.chaos import system as systems

PROTOCOLS = ("classic", "consumer")


def dynamic(protocol: str) -> dict[str, object]:
    """Members without a name of their own: those that are known under one are replaced, not added."""
    return {"group_protocol": protocol, "consumer_instance_id": None}


@pytest.mark.long
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mix", ["storm", "mixed"])
def test_scaled_from_one_to_three_and_back(protocol: str, mix: str, system: systems.System) -> None:
    commands = system.workload(mix)
    system.send(commands.first())
    system.start("relay")
    with system.under_load(commands):
        first = system.start("worker", settings=dynamic(protocol))
        system.await_progress(first)
        second, third = (system.start("worker", settings=dynamic(protocol)) for _ in range(2))
        for part in (second, third):
            system.await_progress(part)
        second.stop()
        third.kill()
        system.await_progress(first, batches=3)
    system.note("1 → 3 → 1")
    system.send(commands.rest())
    system.verify()


@pytest.mark.long
@pytest.mark.parametrize(
    ("victim", "protocol"), [("the newcomer", "classic"), ("the newcomer", "consumer"), ("the first", "classic")]
)
def test_killed_while_partitions_go_from_one_to_another(victim: str, protocol: str, system: systems.System) -> None:
    """Under KIP-848 the first one is only told what it has lost: it is given nothing anew."""
    commands = system.workload("mixed")
    system.send(commands.first())
    system.start("relay")
    is_first = victim == "the first"
    with system.under_load(commands):
        armed = "worker.during_rebalance:2" if is_first else None
        first = system.start("worker", settings=dynamic(protocol), kill_point=armed)
        system.await_progress(first, batches=3)
        newcomer = system.start(
            "worker", settings=dynamic(protocol), kill_point=None if is_first else "worker.during_rebalance"
        )
        dying, heir = (first, newcomer) if is_first else (newcomer, first)
        system.note(dying.await_kill_point())
        system.await_progress(heir, batches=3)
    system.send(commands.rest())
    system.verify()


@pytest.mark.parametrize("protocol", ["classic", pytest.param("consumer", marks=pytest.mark.long)])
def test_two_workers_that_want_the_same_products(protocol: str, system: systems.System) -> None:
    commands = system.workload("contended")
    system.send(commands.first())
    system.start("relay")
    with system.under_load(commands):
        workers = [system.start("worker", settings=dynamic(protocol)) for _ in range(2)]
        for worker in workers:
            worker.await_line("worker.assigned")
        for worker in workers:
            system.await_progress(worker, batches=5)
    system.note("two workers")
    system.verify()


@pytest.mark.long
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "point", ["worker.before_handling", "worker.after_handling", "worker.before_commit", "worker.after_commit"]
)
def test_halted_past_its_session_and_awakened(protocol: str, point: str, system: systems.System) -> None:
    """The zombie stands with a batch in hand, its locks held perhaps, while another handles its partitions."""
    commands = system.workload("mixed")
    system.send(commands.first() + commands.take(60))
    system.start("relay")
    zombie = system.start("worker", settings=dynamic(protocol), kill_point=f"{point}:2:stop")
    with system.under_load(commands):
        system.note(zombie.await_halt())
        other = system.start("worker", settings=dynamic(protocol))
        system.await_progress(other, batches=3)
        zombie.thaw()
        system.await_progress(other)
    system.send(commands.rest())
    system.verify()


@pytest.mark.long
def test_two_relays_that_are_halted_and_awakened_in_turn(system: systems.System) -> None:
    commands = system.workload("storm")
    system.send(commands.first())
    system.start("worker")
    with system.under_load(commands):
        system.start("relay", kill_point="relay.after_produce:2:stop")
        relays = [system.start("relay", kill_point="relay.before_commit:3:stop")]
        for _ in range(3):
            system.note(relays[-1].await_halt())
            relays.append(system.start("relay", kill_point="relay.after_commit:3:stop"))
        for relay in relays:
            relay.thaw()
    system.start("relay")
    system.verify()
