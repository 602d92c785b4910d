"""The oracle sees what it is there to see: the service without a remedy is caught by the check of that name."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, NamedTuple

import pytest

from allocation import bootstrap
from tests import murmur2, outbox_load, waiting
from tests.chaos import operator, processes, test_logs
from tests.chaos.oracle import avro
from tests.chaos.test_groups import dynamic

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from allocation import devstack
    from tests.chaos import matrix
    from tests.chaos import system as systems


class Broken(NamedTuple):
    """A variant, where it is killed, and which checks must see what comes of it."""

    variant: str
    point: str
    mix: str
    caught_by: set[str]


KILLED = [
    Broken("offset_first", "worker.before_commit:2", "allocate", {"settled_once", "handled_or_dead_lettered"}),
    Broken("no_position_check", "worker.after_commit:2", "mixed", {"settled_once"}),
    Broken("at_least_once", "worker.after_commit:2", "storm", {"settled_once"}),
    Broken("deletes_first", "relay.before_commit", "storm", {"events_in_order", "settled_once"}),
    Broken("forgets_its_checkpoint", "relay.after_commit", "storm", {"events_once", "settled_once"}),
]


PATIENCE_S = 10.0
KILLS = 2


def checks_that_fail(system: systems.System, *, parked: bool = True) -> set[str]:
    """Let the system come to rest, as far as a broken one does, and return what the oracle finds."""
    system.is_broken = True
    with contextlib.suppress(AssertionError):
        system.drain(deadline_s=PATIENCE_S, parked=parked)
    system.stop()
    return {violation.check for violation in system.violations()}


@pytest.mark.long
@pytest.mark.parametrize("broken", KILLED, ids=[broken.variant for broken in KILLED])
def test_killed_and_caught(broken: Broken, system: systems.System) -> None:
    commands = system.workload(broken.mix)
    victim = broken.point.partition(".")[0]
    # No command waits: what was parked twice would stop a worker that has neither position nor inbox.
    hasty = {"grace_s": 0.0}
    system.send(commands.first())
    worker = system.start("worker", settings=hasty)
    system.drain_topics("create_batch")
    if victim == "worker":
        worker.stop()
        system.start("relay")
    for _ in range(KILLS):
        system.send(commands.take(100))
        if victim == "relay":  # else its pass may hold nothing but a row of the journal, which nobody misses
            system.drain_topics(*avro.COMMANDS)
        part = system.start(victim, kill_point=broken.point, variant=broken.variant, settings=hasty)
        system.die(part, commands)
    system.start(victim, variant=broken.variant, settings=hasty)
    system.send(commands.rest())
    assert checks_that_fail(system) & broken.caught_by


def two_slow_workers(
    system: systems.System, *, mix: str, variant: str = "slow_commit", relay: str | None = None
) -> None:
    """Let transactions overlap as they do where there is more to do."""
    commands = system.workload(mix)
    system.send(commands.first())
    system.start("relay", variant=relay)
    with system.under_load(commands):
        workers = [system.start("worker", variant=variant, settings=dynamic("classic")) for _ in range(2)]
        for worker in workers:
            worker.await_line("worker.assigned")
        for worker in workers:
            system.await_progress(worker, batches=10)
    system.note("two slow workers")


@pytest.mark.long
@pytest.mark.parametrize("mix", ["allocate", "contended"])
def test_slow_commits_alone_break_nothing(mix: str, system: systems.System) -> None:
    two_slow_workers(system, mix=mix)
    system.verify()


@pytest.mark.long
def test_a_relay_that_goes_on_behind_the_last_id_is_caught(system: systems.System) -> None:
    two_slow_workers(system, mix="allocate", relay="by_last_id")
    assert checks_that_fail(system) >= {"events_in_order", "events_give_allocations"}


@pytest.mark.long
def test_workers_that_read_in_the_statement_that_locks_are_caught(system: systems.System) -> None:
    # The last line of defence makes a retry of this fault; here the line before it is on trial.
    system.tables.execute('ALTER TABLE order_lines DROP CONSTRAINT "order_lines_batchref_place_key"')
    two_slow_workers(system, mix="contended", variant="read_while_locking")
    assert checks_that_fail(system) >= {"stock_adds_up"}


@pytest.mark.long
@pytest.mark.parametrize(
    ("variant", "caught_by"), [("slow_commit", set()), ("no_lock_for_the_unknown", {"nothing_left_over"})]
)
def test_commands_that_miss_their_batch_are_caught(variant: str, caught_by: set[str], system: systems.System) -> None:
    """Each command comes at the same time as the batch that it waits for, on a partition of the other worker."""
    commands = system.workload("pairs")
    patient = dynamic("classic") | {"grace_s": 600.0, "batch_size": 5}
    system.start("relay")
    workers = [system.start("worker", variant=variant, settings=patient) for _ in range(2)]
    for worker in workers:
        worker.await_line("worker.assigned")
    keys = {"create_batch": key_for(0), "allocate": key_for(system.settings.partitions - 1)}
    for round_ in range(1, 61):  # which of two transactions is the quicker one is chance
        system.send(draft._replace(key=keys[draft.topic]) for draft in commands.take(20))
        await_records(workers, 20 * round_)  # else the quicker worker runs away, and they do not meet again
    system.note("pairs at once")
    assert checks_that_fail(system, parked=False) >= caught_by
    assert bool(system.found) == bool(caught_by)
    system.is_broken = bool(caught_by)


def await_records(workers: Sequence[processes.Part], count: int) -> None:
    def handled() -> int:
        return sum(line["records"] for worker in workers for line in worker.lines("worker.batch"))

    waiting.wait_until(lambda: handled() >= count, deadline_s=processes.DEADLINE_S)


def key_for(partition: int, *, partitions: int = 3) -> bytes:
    """Return a key that leads to this partition."""
    keys = (b"%d" % number for number in itertools.count())
    return next(key for key in keys if murmur2.partition(key, partitions) == partition)


@pytest.mark.long
def test_a_worker_that_trusts_a_topic_made_anew_is_caught(system: systems.System) -> None:
    _, before, _ = test_logs.make_anew_while_halted(system, system.workload("allocate"), variant="trusts_the_topic")
    system.note("made anew")
    assert checks_that_fail(system)
    assert test_logs.handled_of_allocate(system) != before


@pytest.mark.long
def test_workers_that_begin_with_added_partitions_at_once_are_caught(system: systems.System) -> None:
    sent = test_logs.double_partitions(system, backlog=True, variant="begins_at_once")
    system.is_broken = True
    system.verify()  # the order of commands is all that is lost
    assert test_logs.handled_in_another_order(system, sent)


def with_two_shards(system: systems.System) -> None:
    """Let every other sku's rows go to a second shard of the outbox."""
    operator.Topics(system).add_partitions("allocation.relay_checkpoint", to=2)
    with bootstrap.database(system.settings) as database:
        bootstrap.create_relay_shards(system.settings, database, count=2)
    system.tables.execute("""
        CREATE FUNCTION to_its_shard() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.shard = abs(hashtext(coalesce(NEW.sku, ''))) % 2; RETURN NEW; END $$;
        CREATE TRIGGER to_its_shard BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION to_its_shard();
    """)


@pytest.mark.long
@pytest.mark.parametrize(
    ("broken", "caught_by"), [("", set()), ("+one_checkpoint_partition", {"events_once", "events_in_order"})]
)
def test_shards_of_which_one_hides_the_checkpoint_of_the_other(
    broken: str, caught_by: set[str], system: systems.System
) -> None:
    """One is halted in its transaction, so that nothing behind it is visible; the other is killed after its own."""
    commands = system.workload("allocate")
    with_two_shards(system)
    system.send(commands.first())
    system.start("worker")
    with system.under_load(commands):
        halted = system.start("relay", variant=f"only_shard_0{broken}", kill_point="relay.before_commit:3:stop")
        system.note(halted.await_halt())
        killed = system.start("relay", variant=f"only_shard_1{broken}", kill_point="relay.after_commit:1")
        system.note(killed.await_kill_point())
        system.start("relay", variant=f"only_shard_1{broken}").await_line("relay.active")
    halted.thaw()
    assert checks_that_fail(system) >= caught_by
    assert bool(system.found) == bool(caught_by)
    system.is_broken = bool(caught_by)


@pytest.mark.long
@pytest.mark.parametrize(("variant", "found"), [(None, [0, 1, 2]), ("of_any_incarnation", [])])
def test_a_restored_database_whose_ids_begin_anew(
    variant: str | None,
    found: list[int],
    endpoints: devstack.Endpoints,
    tmp_path: Path,
    cell: matrix.Row,
) -> None:
    """The last checkpoint names ids that now belong to other rows, which nobody has sent."""
    with outbox_load.an_installation(endpoints) as load:
        load.write(rows=3)
        part = processes.Part("relay", load.settings, log=tmp_path / "killed.log", kill_point="relay.after_commit")
        cell.reached = part.await_kill_point()
        with load.database.begin() as connection:
            connection.exec_driver_sql("TRUNCATE outbox RESTART IDENTITY")
            connection.exec_driver_sql(
                "UPDATE instance SET earlier = ARRAY[incarnation], incarnation = gen_random_uuid()"
            )
        load.write(sku="RUG", rows=3)
        part = processes.Part("relay", load.settings, log=tmp_path / "next.log", variant=variant)
        load.wait_until_sent()
        assert part.stop() == 0
        sent = outbox_load.published(load.settings, load.topic)
    cell.kills, cell.violations, cell.is_broken = 1, 3 - len(sent.get("RUG", [])), variant is not None
    assert sent == {"LAMP": [0, 1, 2]} | ({"RUG": found} if found else {})
