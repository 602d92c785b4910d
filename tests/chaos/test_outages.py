"""What the service stands on dies and comes back: the work goes on by itself."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests import waiting
from tests.chaos import processes

if TYPE_CHECKING:
    from allocation import devstack
    from tests.chaos import system as systems

SERVICES = ("kafka", "postgres")
_PAUSE = threading.Event()  # never set
# A schema id that no registry has given: only the registry can tell.
_UNKNOWN_SCHEMA = b"\x00\x7f\xff\xff\xfe"


def start_both(system: systems.System) -> processes.Part:
    system.start("relay")
    return system.start("worker")


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("down_s", [0.0, 5.0])
def test_killed_under_load(
    service: str, down_s: float, breakable_stack: devstack.Stack, system: systems.System
) -> None:
    commands = system.workload("mixed")
    system.send(commands.first())
    worker = start_both(system)
    server = getattr(breakable_stack, service)
    with system.under_load(commands):
        for _ in range(2):
            system.await_progress(worker, batches=3)
            system.strike(server)
            _PAUSE.wait(down_s)
            server.start()
            server.wait_ready()
        system.await_progress(worker, batches=3)
    system.note(f"{service} by SIGKILL")
    system.send(commands.rest())
    system.verify()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_a_database_that_is_down_for_a_minute(breakable_stack: devstack.Stack, system: systems.System) -> None:
    commands = system.workload("storm")
    system.send(commands.first())
    worker = start_both(system)
    with system.under_load(commands):
        system.await_progress(worker, batches=3)
        system.strike(breakable_stack.postgres)
        _PAUSE.wait(60)
        breakable_stack.postgres.start()
        breakable_stack.postgres.wait_ready()
        system.await_progress(worker, batches=3)
    assert not worker.lines("worker.revoked"), "it gave its partitions up"
    system.note("PostgreSQL by SIGKILL")
    system.verify()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_everything_is_killed_at_once(breakable_stack: devstack.Stack, system: systems.System) -> None:
    commands = system.workload("storm")
    system.send(commands.first())
    with system.under_load(commands):
        for _ in range(2):
            worker = start_both(system)
            system.await_progress(worker, batches=5)
            system.strike(breakable_stack.kafka)
            system.strike(breakable_stack.postgres)
            system.kill_all()
            breakable_stack.start()
    start_both(system)
    system.note("power cut")
    system.verify()


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("for_s", [6.0, 20.0])
def test_everything_stands_still(for_s: float, breakable_stack: devstack.Stack, system: systems.System) -> None:
    """Nobody has died, but sessions, leases and leaderships are over by the clock."""
    commands = system.workload("mixed")
    system.send(commands.first())
    worker = start_both(system)
    with system.under_load(commands):
        for _ in range(3):
            system.await_progress(worker, batches=3)
            system.stand_still(breakable_stack, for_s=for_s)
        system.await_progress(worker, batches=3)
    system.note("all halted")
    system.send(commands.rest())
    system.verify()


@pytest.mark.long
@pytest.mark.parametrize("when", ["at the start", "later"])
def test_registry_is_away(when: str, breakable_stack: devstack.Stack, system: systems.System) -> None:
    """What is known already needs no registry; a schema that nobody knows is waited for, not refused."""
    commands = system.workload("storm")
    system.send(commands.first())
    if when == "later":
        worker = start_both(system)
        system.drain()
    system.strike(breakable_stack.registry)
    if when == "at the start":
        worker = start_both(system)
        system.start("bridge").await_line("bridge.inbound.subscribed")
        system.start("api").await_line("api.listening")
    system.send(commands.take(200))
    system.drain()
    strange = commands.take(1)[0]
    system.send([strange._replace(value=_UNKNOWN_SCHEMA + (strange.value or b"")[5:])])
    waiting.wait_until(lambda: bool(worker.lines("worker.retrying")), deadline_s=processes.DEADLINE_S)
    system.send(commands.take(100))
    breakable_stack.registry.start()
    breakable_stack.registry.wait_ready()
    system.note("registry by SIGKILL")
    system.verify()
    assert system.seen is not None
    reasons = [letter.header("dead_letter_reason") for letter in system.seen.dead_letters]
    assert reasons.count(b"unknown_schema") == 1


# Where a lost connection leaves the most open: what was done is not yet said, or said and not yet known.
CUTS = (
    "worker.after_handling",
    "worker.before_commit",
    "worker.after_commit",
    "relay.before_commit",
    "relay.after_commit",
)


@pytest.mark.long
@pytest.mark.parametrize("point", CUTS)
def test_connections_are_cut_at(point: str, system: systems.System) -> None:
    """The process lives on, but all its connections to the database are gone."""
    commands = system.workload("storm")
    victim, other = ("worker", "relay") if point.startswith("worker") else ("relay", "worker")
    system.send(commands.first() + commands.take(100))
    system.start(other)
    for nth in (1, 2, 3):
        part = system.start(victim, kill_point=f"{point}:{nth}:stop")
        with system.under_load(commands):
            system.note(part.await_halt())
            cut = system.tables.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert cut
        part.thaw()
        system.drain()
        assert part.stop() == 0
    system.start(victim)
    system.send(commands.take(100))
    system.verify()
