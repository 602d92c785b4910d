"""The logs are not what they were: nothing is handled that the database does not know to belong to it."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from allocation.adapters.postgres import engine, outbox_rows
from allocation.devstack import kafka, ports
from tests import waiting
from tests.chaos import operator, processes
from tests.chaos.oracle import avro

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from allocation import devstack
    from tests.chaos import system as systems
    from tests.chaos.oracle import observation
    from tests.chaos.oracle import workload as workloads

# What compares the database with commands that are no longer there.
WITHOUT_COMMANDS = ("settled_once", "handled_or_dead_lettered", "events_have_causes", "model_agrees")
MORE_THAN_IS_SENT = 1000
# A worker that its group gives up while it is halted would look at all logs anew as it comes back. Half of this is what
# deleting a topic and making it again may take.
KEPT_WHILE_HALTED = {"session_timeout_ms": 60_000}
# What the guarantees promise: a look every 2 s, and what its answer takes on a machine with other work to do.
NOTICED_S = 10.0
QUIET_S = 1.0  # some polls without records, so that a worker has looked before it is halted


def start_both(
    system: systems.System, *, variant: str | None = None, settings: Mapping[str, object] | None = None
) -> processes.Part:
    system.start("relay")
    return system.start("worker", variant=variant, settings=settings)


def set_aside(worker: processes.Part) -> set[tuple[str, int]]:
    """Return the partitions of which a worker says that it takes nothing."""
    return {(line["topic"].rpartition(".")[2], line["partition"]) for line in worker.lines("worker.partition_diverged")}


def await_set_aside(worker: processes.Part, partitions: set[tuple[str, int]]) -> None:
    waiting.wait_until(lambda: set_aside(worker) >= partitions, deadline_s=processes.DEADLINE_S)


@pytest.mark.long
def test_a_topic_that_is_deleted_and_made_again_is_set_aside(system: systems.System) -> None:
    commands = system.workload("allocate")
    worker, before, touched = make_anew_while_halted(system, commands)
    await_set_aside(worker, touched)
    system.note("set aside")
    created = system.tables.rows("SELECT count(*) FROM batches")[0][0]
    system.drain_topics("create_batch", "change_batch_quantity")
    system.send(draft for draft in commands.take(1000) if draft.topic == "create_batch")
    system.drain_topics("create_batch", "change_batch_quantity")
    assert system.tables.rows("SELECT count(*) FROM batches")[0][0] > created
    worker.stop()
    await_set_aside(system.start("worker"), touched)
    system.stop()
    system.check(blind_to=WITHOUT_COMMANDS)
    assert handled_of_allocate(system) == before


@pytest.mark.long
def test_a_topic_that_is_made_again_as_long_as_it_was_is_set_aside_in_quiet_times(system: systems.System) -> None:
    commands = system.workload("allocate")
    sent = commands.first() + commands.take(200)
    system.send(sent)
    worker = system.start("worker", settings=KEPT_WHILE_HALTED)
    system.drain_topics("create_batch", "change_batch_quantity", "allocate")
    threading.Event().wait(QUIET_S)
    worker.freeze()
    operator.Topics(system).create_anew("allocate", partitions=system.settings.partitions)
    system.log = system.new_log()
    before = system.handled()
    system.send(draft for draft in sent if draft.topic == "allocate")
    ends = {log: end for log, end in system.log.ends(["allocate"]).items() if end}
    assert ends == {log: end for log, end in before.items() if log in ends}
    worker.thaw()
    began = time.monotonic()
    await_set_aside(worker, set(ends))
    took_s = time.monotonic() - began
    system.note(f"set aside after {took_s:.1f} s")
    assert took_s < NOTICED_S
    system.start("relay")
    waiting.wait_until(lambda: system.is_drained({}), deadline_s=processes.DEADLINE_S)
    system.stop()
    # The records are those that were handled, at the same places: nobody can tell them from these.
    system.check()


def make_anew_while_halted(
    system: systems.System, commands: workloads.Workload, *, variant: str | None = None
) -> tuple[processes.Part, list[observation.Entry], set[tuple[str, int]]]:
    """Give a running worker another topic of the same name, with more in it than there was before."""
    system.send(commands.first() + commands.take(200))
    worker = start_both(system, variant=variant, settings=KEPT_WHILE_HALTED)
    system.drain()
    system.observe()
    before = handled_of_allocate(system)
    worker.freeze()
    operator.Topics(system).create_anew("allocate", partitions=system.settings.partitions)
    system.log = system.new_log()
    system.send(commands.take(600))
    worker.thaw()
    return worker, before, {log for log, end in system.log.ends(["allocate"]).items() if end}


def handled_of_allocate(system: systems.System) -> list[observation.Entry]:
    assert system.seen is not None
    return [entry for entry in system.seen.journal if entry.topic == "allocate"]


@pytest.mark.long
@pytest.mark.parametrize("worker_is", ["stopped", "halted"])
def test_a_partition_whose_retention_overtook_the_position_is_set_aside(worker_is: str, system: systems.System) -> None:
    commands = system.workload("allocate")
    system.send(commands.first() + commands.take(100))
    worker = start_both(system)
    system.drain()
    if worker_is == "stopped":
        worker.stop()
    else:
        worker.freeze()
        # A fetch of the worker's that still waits would bring it what is lost afterwards.
        system.log.outwait_fetches(tuple(avro.COMMANDS))
    system.send(commands.take(200))
    ends = system.log.ends(["allocate"])
    lost = max(ends, key=lambda log: ends[log] - system.handled().get(log, 0))
    operator.Topics(system).delete_before(*lost, ends[lost] - 1)
    if worker_is == "stopped":
        worker = system.start("worker")
    else:
        worker.thaw()
    await_set_aside(worker, {lost})
    system.note(f"{worker_is}, set aside")
    check_that_others_go_on(system, worker, commands, besides=lost, before=system.handled()[lost])
    system.stop()
    system.check(blind_to=WITHOUT_COMMANDS)


def check_that_others_go_on(
    system: systems.System,
    worker: processes.Part,
    commands: workloads.Workload,
    *,
    besides: tuple[str, int],
    before: int,
) -> None:
    """Send more, and see that this partition stays as it was before and that all others are handled."""
    system.send(commands.take(100))
    others = {log: end for log, end in system.log.ends(tuple(avro.COMMANDS)).items() if log != besides}
    waiting.wait_until(lambda: system.is_drained(others), deadline_s=processes.DEADLINE_S)
    assert system.handled()[besides] == before
    assert set_aside(worker) == {besides}


@pytest.mark.long
def test_a_log_that_ends_before_the_position_is_set_aside(system: systems.System) -> None:
    commands = system.workload("allocate")
    system.send(commands.first() + commands.take(100))
    worker = start_both(system)
    system.drain()
    worker.stop()
    ends = system.log.ends(["allocate"])
    cut = max(ends, key=ends.__getitem__)
    move_position(system, *cut, by=MORE_THAN_IS_SENT)
    before = system.handled()[cut]
    worker = system.start("worker")
    await_set_aside(worker, {cut})
    system.note("set aside")
    check_that_others_go_on(system, worker, commands, besides=cut, before=before)
    worker.stop()
    move_position(system, *cut, by=-MORE_THAN_IS_SENT)
    system.start("worker")
    system.verify()


def move_position(system: systems.System, topic: str, partition: int, *, by: int) -> None:
    """Let the database know more of a log than there is, as when its end was lost; or the same as before again."""
    database = engine.create(system.settings.database_url)
    with database.begin() as connection:
        moved = connection.exec_driver_sql(
            "UPDATE positions SET next_offset = next_offset + %(by)s, last_offset = last_offset + %(by)s "
            "WHERE topic = %(topic)s AND partition = %(partition)s",
            {"by": by, "topic": system.settings.topic_prefix + topic, "partition": partition},
        )
        assert moved.rowcount == 1
    database.dispose()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_another_cluster_behind_the_same_address_is_refused(
    breakable_stack: devstack.Stack, system: systems.System, tmp_path: Path
) -> None:
    commands = system.workload("allocate")
    system.send(commands.first() + commands.take(200))
    worker = start_both(system)
    system.drain()
    before = system.handled()
    breakable_stack.kafka.stop()
    other = kafka.Kafka(
        directory=tmp_path / "other", port=breakable_stack.kafka.port, controller_port=ports.pick(1)[0], snapshot=None
    )
    try:
        other.start()
        other.wait_ready()
        operator.Topics(system).create((*avro.COMMANDS, *avro.EVENTS), partitions=system.settings.partitions)
        system.log = system.new_log()
        system.send(commands.take(600))  # more than in the cluster that the database knows
        await_set_aside(worker, {log for log, end in system.log.ends(tuple(avro.COMMANDS)).items() if end})
        assert_refused(system.start("worker"))
        assert system.handled() == before
    finally:
        other.stop()
        breakable_stack.kafka.start()
        breakable_stack.kafka.wait_ready()
    system.note("refused")
    system.kill_all()
    system.log = system.new_log()
    start_both(system)
    system.send(commands.take(100))
    system.verify()


def assert_refused(part: processes.Part) -> None:
    """Fail unless a part has ended with the exit code for wrong settings, and has said what is wrong."""
    assert part.process.wait(processes.DEADLINE_S) == 2
    said = part.log.read_text()
    assert "the database belongs to Kafka cluster" in said
    assert "Traceback" not in said


@pytest.mark.long
@pytest.mark.parametrize("backlog", [False, True], ids=["under load", "in a backlog"])
def test_partitions_are_doubled(backlog: bool, system: systems.System) -> None:  # noqa: FBT001 - of the matrix
    sent = double_partitions(system, backlog=backlog)
    system.verify()
    assert handled_in_another_order(system, sent) == set()


def double_partitions(system: systems.System, *, backlog: bool, variant: str | None = None) -> list[workloads.Draft]:
    """Send on while the command topics get twice as many partitions; return what was sent, in this order."""
    commands = system.workload("allocate")
    doubled = 2 * system.settings.partitions
    two: dict[str, object] = {
        "consumer_instance_id": None,
        "batch_size": 10,
        "kafka_config": {"topic.metadata.refresh.interval.ms": 1000},
    }
    sent = commands.first() + commands.take(60)
    system.send(sent)
    system.start("relay")
    workers = [system.start("worker", variant=variant, settings=two) for _ in range(2)]
    system.drain()
    if backlog:
        for worker in workers:
            worker.stop()
        sent += send(system, commands.take(1500))
    for topic in avro.COMMANDS:
        operator.Topics(system).add_partitions(topic, to=doubled)
    system.log = system.new_log()
    if backlog:
        sent += send(system, commands.take(500))
        workers = [system.start("worker", variant=variant, settings=two) for _ in range(2)]
    else:
        for _ in range(50):
            sent += send(system, commands.take(20))
    added = {str(number) for number in range(system.settings.partitions, doubled)}
    waiting.wait_until(lambda: assigned(workers) >= added, deadline_s=processes.DEADLINE_S)
    system.note(f"{system.settings.partitions} → {doubled} partitions")
    sent += send(system, commands.take(100))
    return sent


def send(system: systems.System, drafts: list[workloads.Draft]) -> list[workloads.Draft]:
    system.send(drafts)
    return drafts


def assigned(workers: Iterable[processes.Part]) -> set[str]:
    """Return the numbers of all partitions that these workers were ever given."""
    lines = [line for worker in workers for line in worker.lines("worker.assigned")]
    return {place.rpartition("/")[2] for line in lines for place in line["at"]}


def handled_in_another_order(system: systems.System, sent: Iterable[workloads.Draft]) -> set[bytes | None]:
    """Return the skus whose lines were not handled in the order in which they were sent."""
    seen = system.seen
    assert seen is not None
    order: dict[bytes | None, list[str]] = defaultdict(list)
    for draft in sent:
        if draft.topic == "allocate":
            order[draft.key].append(dict(draft.headers)["ce_id"].decode())  # type: ignore[union-attr]
    done: dict[bytes | None, list[str]] = defaultdict(list)
    for entry in seen.journal:
        for offset in range(entry.first, entry.last + 1):
            record = seen.commands[entry.topic, entry.partition, offset]
            if entry.topic == "allocate" and entry.what in ("handled", "released"):
                done[record.key].append(seen.identity(record)[1])
    return {sku for sku in order if order[sku] != done[sku]}


@pytest.mark.long
def test_rows_that_kafka_refuses_hold_up_their_own_sku_alone(system: systems.System) -> None:
    topics = operator.Topics(system)
    # Larger than the marker of a transaction, smaller than any event.
    topics.set_config("out_of_stock", "max.message.bytes", "150")
    commands = system.workload("storm")
    system.send(commands.first() + commands.take(150))
    start_both(system)
    # Of a sku that is always in stock no row is ever refused.
    plenty = system.workload("plenty")
    system.send(plenty.first() + plenty.take(150))
    system.drain()
    seen = system.observe()
    held_back = {sku for _, sku in seen.quarantined}
    assert held_back
    assert not any(sku and sku.startswith("plenty") for sku in held_back)
    told = {event.key for event in seen.events}
    assert {f"plenty-{number}".encode() for number in range(3)} <= told
    topics.set_config("out_of_stock", "max.message.bytes", "1000000")
    database = engine.create(system.settings.database_url)
    for row_id, _ in sorted(seen.quarantined):
        outbox_rows.release(database, row_id=row_id)
    database.dispose()
    system.note("quarantine")
    system.verify()
