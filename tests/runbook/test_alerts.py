"""What an alert tells to do is done, on real parts: it fires before, by its own expression, and does not afterwards.

Limits of minutes are taken as seconds; `for` is not waited for.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import httpx2
import psycopg2
import pytest

from tests import waiting
from tests.chaos import processes, test_api
from tests.runbook import recipes, watched
from tests.runbook.watched import order, stock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from allocation import config, devstack

# Each order takes its time, as with a slow disk.
SLOW = """
CREATE FUNCTION be_slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;
CREATE TRIGGER be_slow BEFORE INSERT ON order_lines FOR EACH ROW EXECUTE FUNCTION be_slow()
"""


@pytest.fixture
def installed(settings: config.Settings, tmp_path: Path) -> Iterator[Callable[..., watched.Watched]]:
    """Set up an installation with these settings."""
    with contextlib.ExitStack() as opened:
        yield lambda **more: opened.enter_context(watched.watched(settings, directory=tmp_path, **more))


def test_a_part_that_is_dead_or_silent_is_killed_and_started_again(
    installed: Callable[..., watched.Watched],
) -> None:
    system = installed(grace_s=600.0)
    system.start("relay", "worker")
    system.send(stock(), order("o1"), order("too early", sku="SOFA"))
    system.await_lines(1)
    system.await_rows("SELECT count(*) FROM parked", 1)
    system.alerts.begin()

    system.parts["worker"].kill()
    system.tables.execute("UPDATE parked SET expires_at = now()")
    system.send(order("o2"))
    system.alerts.await_firing("AllocationPartDown", instance="worker")
    system.alerts.await_firing("AllocationNothingHandled")
    system.alerts.await_firing("AllocationWaitingTooLong", above=1.0)
    waiting.wait_until(lambda: "\nworker " not in system.run("allocation status"), deadline_s=processes.DEADLINE_S)
    system.start("worker")
    system.await_rows("SELECT count(*) FROM parked", 0)
    system.await_lines(2)
    system.alerts.await_quiet("AllocationPartDown", "AllocationNothingHandled")
    system.alerts.await_quiet("AllocationWaitingTooLong", above=1.0)
    waiting.wait_until(lambda: "\nworker " in system.run("allocation status"), deadline_s=processes.DEADLINE_S)

    system.parts["relay"].freeze()
    system.send(order("o3"))
    system.alerts.await_firing("AllocationPartDown", instance="relay")
    system.alerts.await_firing("AllocationOutboxStuck", above=1.0)
    system.parts["relay"].kill()
    system.start("relay")
    system.await_lines(3)
    system.alerts.await_quiet("AllocationPartDown")
    system.alerts.await_quiet("AllocationOutboxStuck", above=1.0)
    assert "agree" in system.run("allocation verify")

    second = system.begin("worker@2", health_port=system.alerts.instances["relay"])
    assert second.process.wait(processes.DEADLINE_S) == 1
    assert "the health of the worker cannot listen" in second.log.read_text()


def test_workers_that_stand_still_before_a_full_outbox_go_on_when_a_relay_is_started(
    installed: Callable[..., watched.Watched],
) -> None:
    system = installed(outbox_limit=20, batch_size=5)
    system.start("worker")
    system.send(stock(), *(order(f"o{number}") for number in range(60)))
    system.alerts.await_firing("AllocationOutboxFull", instance="worker")
    system.alerts.await_firing("AllocationOutboxStuck", above=1.0)
    assert "relay" not in system.run("allocation status")
    system.start("relay")
    system.await_lines(60)
    system.alerts.await_quiet("AllocationOutboxFull")
    system.alerts.await_quiet("AllocationOutboxStuck", above=1.0)
    assert len(system.parts["worker"].lines("worker.goes_on")) > 0
    assert "agree" in system.run("allocation verify")


@pytest.mark.long
def test_services_that_were_away_and_a_registry_that_has_lost_its_data(
    installed: Callable[..., watched.Watched], breakable_stack: devstack.Stack
) -> None:
    system = installed(http_timeout_s=2.0)
    system.start("relay", "worker", "bridge", "api")
    system.send(stock())
    url = f"http://127.0.0.1:{system.alerts.instances['api']}/allocate"

    def call() -> tuple[int, object] | None:
        return test_api.call(url, {"orderid": "o1", "sku": "LAMP", "qty": 1}, "once")

    for service in breakable_stack.services:
        service.kill()
    for check in ("database", "kafka", "redis", "schema registry"):
        system.alerts.await_firing("AllocationDependencyDown", check=check)
    assert call() == (503, None)
    system.alerts.begin()
    assert call() == (503, None)
    system.alerts.await_firing("AllocationApiFails")
    breakable_stack.start()
    system.alerts.await_quiet("AllocationDependencyDown")
    waiting.wait_until(lambda: call() == (201, {"batchref": "batch of LAMP"}), deadline_s=processes.DEADLINE_S)
    system.alerts.begin()
    assert call() == (201, {"batchref": "batch of LAMP"})
    system.alerts.await_quiet("AllocationApiFails")

    forget_schemas(system.settings)
    system.alerts.await_firing("AllocationDependencyDown", check="schema registry")
    assert "run `allocation init`" in system.run("allocation status", code=1)
    system.run("allocation init")
    system.alerts.await_quiet("AllocationDependencyDown")
    system.await_lines(1)
    assert "agree" in system.run("allocation verify")


def forget_schemas(settings: config.Settings) -> None:
    """Let the registry know nothing of this installation."""
    with httpx2.Client(base_url=settings.schema_registry_url) as registry:
        for subject in registry.get("/subjects").json():
            if subject.startswith(settings.topic_prefix):
                assert registry.delete(f"/subjects/{subject}").status_code == 200


def test_who_holds_rows_and_locks_is_named_and_ended(installed: Callable[..., watched.Watched]) -> None:
    system = installed()
    system.start("relay", "worker")
    system.send(stock(), order("o1"))
    system.await_lines(1)
    url = system.settings.database_url.replace("+psycopg2", "")
    with contextlib.closing(psycopg2.connect(url, application_name="a report")) as somebody:
        somebody.cursor().execute("UPDATE products SET version_number = version_number")
        system.send(order("o2"))
        system.parts["worker"].await_line("worker.retrying")
        system.alerts.begin()
        system.alerts.await_firing("AllocationConflicts", above=0.01)
        system.alerts.await_firing("AllocationOldTransaction", above=1.0)
        for alert in ("A transaction stays open", "Many conflicts"):
            waiting.wait_until(lambda: bool(named(system, alert)), deadline_s=30.0)  # noqa: B023 - called at once
        (pid,) = named(system, "A transaction stays open")
        end = next(query for query in recipes.queries("A transaction stays open") if "(PID)" in query)
        assert end in recipes.queries("Many conflicts")
        system.tables.rows(end.replace("PID", str(pid)))
    system.await_lines(2)
    system.alerts.begin()
    system.alerts.await_quiet("AllocationConflicts", above=0.01)
    system.alerts.await_quiet("AllocationOldTransaction", above=1.0)


def named(system: watched.Watched, alert: str) -> list[int]:
    """Ask the queries of an alert who it is; returns those that call themselves a report."""
    queries = [query for query in recipes.queries(alert) if "(PID)" not in query]
    return [row[0] for query in queries for row in system.tables.rows(query) if "a report" in row]


def test_old_rows_go_when_maintenance_is_run(installed: Callable[..., watched.Watched]) -> None:
    system = installed()
    system.start("relay")
    system.alerts.await_firing("AllocationMaintenanceLate")
    assert re.search("maintained +never", system.run("allocation status"))
    system.run("allocation maintenance --once")
    system.alerts.await_quiet("AllocationMaintenanceLate")


@pytest.mark.long
def test_workers_that_are_behind_are_helped_and_one_that_comes_and_goes_is_stopped(
    installed: Callable[..., watched.Watched],
) -> None:
    system = installed(batch_size=1)
    skus = [f"SKU-{number}" for number in range(12)]
    system.start("relay", "worker@1")
    system.send(*map(stock, skus))
    system.await_rows("SELECT count(*) FROM batches", len(skus))
    system.tables.execute(SLOW)
    system.send(*(order(f"o{number}", sku) for number in range(40) for sku in skus))
    system.alerts.await_firing("AllocationLate", above=1.0)
    system.start("worker@2", "worker@3")
    system.await_lines(480)
    system.alerts.await_quiet("AllocationLate", above=1.0)
    assert all(system.parts[f"worker@{number}"].lines("worker.batch") for number in (2, 3))

    system.alerts.begin()
    for _ in range(2):  # one too many, and it comes and goes
        system.begin("worker@4")
        system.alerts.await_firing("AllocationNotReady", check="assignment", instance="worker@4")
        system.stop("worker@4")
    system.alerts.await_firing("AllocationRebalancing", above=5)
    system.alerts.begin()
    system.alerts.await_quiet("AllocationNotReady", "AllocationRebalancing")
    assert system.run("allocation status").count(", 3 partitions") == 3


@pytest.mark.long
def test_two_workers_of_one_instance_id_are_given_one_each(installed: Callable[..., watched.Watched]) -> None:
    system = installed()
    system.start("worker@1", consumer_instance_id="same")
    second = system.begin("worker@2", consumer_instance_id="same")
    ended = [system.parts["worker@1"], second]
    waiting.wait_until(lambda: not all(part.is_running for part in ended), deadline_s=processes.DEADLINE_S)
    (first,) = (part for part in ended if not part.is_running)
    assert "another one uses its instance id" in first.log.read_text()
    unit = next(unit for unit, part in system.parts.items() if part is first)
    system.alerts.await_firing("AllocationPartDown", instance=unit)
    system.start(unit, consumer_instance_id="another")
    system.alerts.await_quiet("AllocationPartDown", "AllocationNotReady")


@pytest.mark.long
def test_an_open_circuit_closes_with_a_restart_once_the_cause_is_mended(
    installed: Callable[..., watched.Watched],
) -> None:
    system = installed(grace_s=0.0)
    system.start("relay", "worker")
    system.alerts.begin()
    system.send(*(order(f"o{number}") for number in range(1000)))
    system.alerts.await_firing("AllocationCircuitOpen", instance="worker")
    system.alerts.await_firing("AllocationDeadLetters", reason="invalid_sku")
    assert "invalid_sku" in system.run("allocation dlq list")
    system.send(stock())  # waits, too
    system.parts["worker"].stop()
    system.start("worker")
    system.await_rows("SELECT count(*) FROM batches", 1)
    redrive = 'allocation dlq redrive --reason invalid_sku --why "its batch is there"'
    assert "would be redriven" in system.run(f"{redrive} --dry-run")
    system.run(redrive)
    system.await_lines(1000)
    system.alerts.begin()
    system.alerts.await_quiet("AllocationCircuitOpen", "AllocationDeadLetters")
    assert "agree" in system.run("allocation verify")
