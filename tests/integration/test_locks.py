"""Workers at once, on different partitions, over real PostgreSQL."""

from __future__ import annotations

import random
import threading
from concurrent import futures
from typing import TYPE_CHECKING

import pytest
import sqlalchemy

from allocation.adapters.postgres import locks, prepared, tables
from allocation.adapters.postgres import unit_of_work as postgres
from allocation.domain import commands
from allocation.service_layer import envelopes, messages, ports
from tests import builders, installations, waiting
from tests.fakes import serde

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from allocation.service_layer import processing, reporting

VALUES = serde.FakeSerde()
DEADLINE_S = 30.0


@pytest.fixture
def pool() -> Iterator[futures.ThreadPoolExecutor]:
    with futures.ThreadPoolExecutor(4) as pool:
        yield pool


def a_record(command: commands.Command, offset: int, *, partition: int = 0, id: str | None = None) -> messages.Record:  # noqa: A002
    name = type(command).__name__
    value = VALUES.serialize(name, envelopes.command_fields(command))
    return builders.a_record(
        value,
        topic=installations.NAMES.commands[name],
        partition=partition,
        offset=offset,
        headers=() if id is None else (("ce_id", id.encode()),),
    )


def waits_for_a_lock(database: sqlalchemy.Engine, count: int = 1) -> Callable[[], bool]:
    query = sqlalchemy.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def is_true() -> bool:
        with database.connect() as connection:
            return bool(connection.execute(query).scalar_one() >= count)

    return is_true


def retried(work: Callable[[], reporting.Report]) -> reporting.Report:
    """Work as a worker does: again after a conflict, but a deadlock is a mistake of ours."""
    while True:
        try:
            return work()
        except ports.Retryable as error:
            if "deadlock" in str(error):
                raise AssertionError("two units of work waited for each other") from error


class Held(postgres.PostgresUnitOfWork):
    """Stops before its commit until it may go on."""

    def __init__(self, database: sqlalchemy.Engine) -> None:
        super().__init__(database, journal_topic=installations.NAMES.journal)
        self.is_ready = threading.Event()
        self.may_go_on = threading.Event()

    def commit(self) -> None:
        self.is_ready.set()
        assert self.may_go_on.wait(DEADLINE_S)
        super().commit()


@pytest.mark.parametrize(
    "waiting_command",
    [
        commands.Allocate("o1", "LAMP", 3),
        commands.ChangeBatchQuantity("b1", 7),
        commands.ChangeBatchQuantity("b1", 7, "LAMP"),
        commands.ChangeBatchQuantity("b1", 7, "VASE"),
    ],
    ids=str,
)
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_command_and_the_batch_that_it_needs_cannot_miss_each_other(
    shared_database: sqlalchemy.Engine,
    installation: installations.PostgresInstallation,
    pool: futures.ThreadPoolExecutor,
    waiting_command: commands.Command,
    batch_first: bool,  # noqa: FBT001
) -> None:
    records = [a_record(commands.CreateBatch("b1", "LAMP", 10), 0), a_record(waiting_command, 0, partition=1)]
    first, second = records if batch_first else reversed(records)
    held = Held(shared_database)
    one = pool.submit(installations.a_processor(lambda: held).process, [first])
    assert held.is_ready.wait(DEADLINE_S)
    two = pool.submit(installations.a_processor(installation.begin).process, [second])
    waiting.wait_until(waits_for_a_lock(shared_database))
    held.may_go_on.set()
    futures.wait([one, two], DEADLINE_S)
    reports = (one.result(), two.result())
    contents = installation.contents()
    assert contents.parked == []
    assert {entry.outcome for entry in contents.inbox.values()} <= {"handled", "refused"}
    assert all(not report.repeated for report in reports)
    is_misled = isinstance(waiting_command, commands.ChangeBatchQuantity) and waiting_command.sku == "VASE"
    assert contents.batches["b1"].purchased - contents.batches["b1"].allocated == (10 if is_misled else 7)


def test_the_last_pieces_are_sold_once(
    installation: installations.PostgresInstallation, pool: futures.ThreadPoolExecutor
) -> None:
    processor = installations.a_processor(installation.begin)
    processor.process([a_record(commands.CreateBatch("b1", "LAMP", 10), 0)])

    def sell(partition: int) -> None:
        for offset in range(8):
            line = commands.Allocate(f"o{partition}-{offset}", "LAMP", 1)
            retried(
                lambda offset=offset, line=line: processor_of_its_own().process(  # type: ignore[misc]
                    [a_record(line, offset, partition=partition)]
                )
            )

    def processor_of_its_own() -> processing.Processor:
        return installations.a_processor(installation.begin)

    for done in [pool.submit(sell, partition) for partition in (1, 2, 3)]:
        done.result(DEADLINE_S)
    contents = installation.contents()
    assert contents.batches["b1"].allocated == 10
    topics = [one.topic for one in contents.outbox]
    assert (topics.count("line_allocated"), topics.count("out_of_stock")) == (10, 14)
    assert contents.products["LAMP"] == (11, 24)


def test_of_two_workers_with_the_same_partition_one_handles_it(
    shared_database: sqlalchemy.Engine,
    installation: installations.PostgresInstallation,
    pool: futures.ThreadPoolExecutor,
) -> None:
    records = [a_record(commands.CreateBatch("b1", "LAMP", 10), 0), a_record(commands.Allocate("o1", "LAMP", 1), 0)]
    held = Held(shared_database)
    zombie = pool.submit(installations.a_processor(lambda: held).process, [records[0]])
    assert held.is_ready.wait(DEADLINE_S)
    # The new owner needs none of the zombie's locks to take the partition from it.
    other = a_record(commands.CreateBatch("v1", "VASE", 10), 0, id="another")  # that the id is new does not help
    installations.a_processor(installation.begin).process([other])
    held.may_go_on.set()
    with pytest.raises(ports.Retryable, match="another worker has moved the position of create_batch/0"):
        zombie.result(DEADLINE_S)
    assert installation.contents().batches.keys() == {"v1"}


def test_of_two_workers_with_the_same_message_one_handles_it(
    shared_database: sqlalchemy.Engine,
    installation: installations.PostgresInstallation,
    pool: futures.ThreadPoolExecutor,
) -> None:
    command = commands.Allocate("o1", "LAMP", 1)
    held = Held(shared_database)
    one = pool.submit(installations.a_processor(lambda: held).process, [a_record(command, 0, id="m1")])
    assert held.is_ready.wait(DEADLINE_S)
    again = [a_record(command, 0, partition=1, id="m1")]
    two = pool.submit(installations.a_processor(installation.begin).process, again)
    waiting.wait_until(waits_for_a_lock(shared_database))
    held.may_go_on.set()
    assert one.result(DEADLINE_S).outcomes == {"waited": 1}
    assert two.result(DEADLINE_S).outcomes == {"duplicate": 1}
    assert len(installation.contents().parked) == 1


def test_of_two_workers_with_the_same_id_on_different_skus_one_is_refused(
    shared_database: sqlalchemy.Engine,
    installation: installations.PostgresInstallation,
    pool: futures.ThreadPoolExecutor,
) -> None:
    late = [a_record(commands.Allocate("o1", "LAMP", 1), 0, id="m1")]
    held = Held(shared_database)
    one = pool.submit(installations.a_processor(lambda: held).process, late)
    assert held.is_ready.wait(DEADLINE_S)
    processor = installations.a_processor(installation.begin)
    processor.process([a_record(commands.Allocate("o2", "VASE", 1), 0, partition=1, id="m1")])
    held.may_go_on.set()
    with pytest.raises(ports.Retryable, match="inbox_pkey"):
        one.result(DEADLINE_S)
    assert processor.process(late).outcomes == {"refused": 1}
    contents = installation.contents()
    [entry] = contents.inbox.values()
    assert (entry.partition, entry.outcome, len(contents.parked)) == (1, "waiting", 1)
    assert dict(contents.outbox[0].headers)["dead_letter_reason"] == b"id_reused"


def test_units_of_work_that_claim_at_random_never_wait_for_each_other_in_a_circle(
    installation: installations.PostgresInstallation, pool: futures.ThreadPoolExecutor
) -> None:
    def work(partition: int) -> int:
        chance = random.Random(partition)
        processor = installations.a_processor(installation.begin)
        offsets: dict[str, int] = {}
        for _ in range(40):
            records = [_random_record(chance, partition, offsets) for _ in range(chance.randrange(1, 8))]
            retried(lambda records=records: processor.process(records))  # type: ignore[misc]
        return sum(offsets.values())

    working = [pool.submit(work, partition) for partition in range(4)]
    sent = sum(one.result(DEADLINE_S * 2) for one in working)
    contents = installation.contents()
    assert len(contents.inbox) == sent
    _check_sequences(contents)


def _random_record(chance: random.Random, partition: int, offsets: dict[str, int]) -> messages.Record:
    names = [f"{chance.randrange(10)}" for _ in range(2)]
    sku, ref = f"SKU-{names[0]}", f"b{names[1]}"
    choices: tuple[commands.Command, ...] = (
        commands.CreateBatch(ref, sku, 20),
        commands.Allocate(f"o{chance.randrange(1000)}", sku, chance.randrange(1, 4)),
        commands.ChangeBatchQuantity(ref, chance.randrange(20), chance.choice([None, sku])),
    )
    command = chance.choice(choices)
    topic = type(command).__name__
    offset = offsets[topic] = offsets.get(topic, 0) + 1
    return a_record(command, offset - 1, partition=partition)


def _check_sequences(contents: installations.Contents) -> None:
    numbers: dict[str | None, list[int]] = {}
    for one in contents.outbox:
        sequence = dict(one.headers).get(messages.CE_SEQUENCE)
        if sequence:
            numbers.setdefault(one.sku, []).append(int(sequence))
    for sku, (_, last) in contents.products.items():
        assert numbers.get(sku, []) == list(range(1, last + 1)), sku


def test_names_are_locked_whether_they_exist_or_not(
    shared_database: sqlalchemy.Engine,
    installation: installations.PostgresInstallation,
    pool: futures.ThreadPoolExecutor,
) -> None:
    assert installation.contents().products == {}
    with shared_database.connect() as holder:
        locks.lock(prepared.Cursor(holder.connection.cursor(), prepared.Prepared()), ["sku:new", "sku:other"])
        others = [pool.submit(_lock_and_let_go, shared_database, names) for names in (["sku:new"], ["sku:other"])]
        waiting.wait_until(waits_for_a_lock(shared_database, 2))
        holder.rollback()
    for other in others:
        other.result(DEADLINE_S)


def test_a_name_that_is_deleted_while_someone_waits_for_it_is_held_all_the_same(
    shared_database: sqlalchemy.Engine,
    installation: installations.PostgresInstallation,
    pool: futures.ThreadPoolExecutor,
) -> None:
    assert installation.contents().products == {}
    _lock_and_commit(shared_database, ["sku:other", "sku:rare"])
    with shared_database.connect() as pruning, shared_database.connect() as holder:
        pruning.execute(tables.locks.delete().where(tables.locks.c.name == "sku:rare"))
        waiter = pool.submit(
            locks.lock, prepared.Cursor(holder.connection.cursor(), prepared.Prepared()), ["sku:other", "sku:rare"]
        )
        waiting.wait_until(waits_for_a_lock(shared_database))
        pruning.commit()
        waiter.result(DEADLINE_S)
        last = pool.submit(_lock_and_let_go, shared_database, ["sku:rare"])
        waiting.wait_until(waits_for_a_lock(shared_database))
        holder.rollback()
    last.result(DEADLINE_S)


def _lock_and_commit(database: sqlalchemy.Engine, names: Sequence[str]) -> None:
    with database.begin() as connection:
        locks.lock(prepared.Cursor(connection.connection.cursor(), prepared.Prepared()), names)


def _lock_and_let_go(database: sqlalchemy.Engine, names: Sequence[str]) -> None:
    with database.connect() as connection:
        locks.lock(prepared.Cursor(connection.connection.cursor(), prepared.Prepared()), names)
