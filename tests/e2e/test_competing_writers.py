"""Commands for one sku on all partitions, two workers on them at once, and people with SQL in between."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import psycopg2
import psycopg2.errors
import pytest
import sqlalchemy

from tests import meanwhile, waiting
from tests.e2e import floods, parts

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from allocation import config

SKUS = ("LAMP", "TABLE", "VASE")
PARTITIONS = 6
ORDERS = 2400
# How often more orders are sent until what is to happen has happened, as chance has it.
MOST_ROUNDS = 20
# For three skus, less than what is asked for: the last ones are out of stock.
STOCK = 700
BATCHES_OF_EACH = 3
# Often enough to be in the way of a worker, which needs some ten milliseconds for a batch.
PAUSE_S = 0.1


class Person:
    """Someone with a SQL session of their own, who repeats a transaction for as long as the block lasts."""

    def __init__(self, settings: config.Settings, transaction: tuple[str, ...]) -> None:
        self._url = sqlalchemy.make_url(settings.database_url).set(drivername="postgresql")
        self._transaction = transaction
        self.committed = self.deadlocked = 0

    def repeat(self, done: threading.Event) -> None:
        connection = psycopg2.connect(self._url.render_as_string(hide_password=False))
        cursor = connection.cursor()
        while not done.wait(PAUSE_S):
            try:
                for statement in self._transaction:
                    cursor.execute(statement)
                connection.commit()
                self.committed += 1
            except psycopg2.errors.DeadlockDetected:
                connection.rollback()
                self.deadlocked += 1
        connection.close()


def scatter(flood: floods.Flood, orders: int, *, round_: int = 0) -> None:
    """Send batches, orders and changes of quantity for few skus to partitions at random; in later rounds no batches."""
    chance = random.Random(7 + round_)

    def partition() -> int:
        return chance.randrange(PARTITIONS)

    for sku in () if round_ else SKUS:
        for number in range(BATCHES_OF_EACH):
            fields = {"ref": f"{sku}-{number}", "sku": sku, "qty": STOCK // BATCHES_OF_EACH, "eta": None}
            flood.send("CreateBatch", fields, partition=partition())
    flood.flush()
    for number in range(round_ * orders, (round_ + 1) * orders):
        sku = chance.choice(SKUS)
        flood.send("Allocate", {"orderid": f"o{number}", "sku": sku, "qty": 1}, partition=partition())
        if number % 20 == 0:
            batch = f"{chance.choice(SKUS)}-{chance.randrange(BATCHES_OF_EACH)}"
            fields = {"batchref": batch, "qty": chance.randrange(STOCK), "sku": None}
            flood.send("ChangeBatchQuantity", fields, partition=partition())
    flood.flush()


def check(flood: floods.Flood) -> None:
    """Fail unless all is handled, and what the events say is what the database holds."""
    assert flood.handled == flood.sent
    assert flood.number("SELECT count(*) FROM inbox WHERE outcome = 'handled'") == flood.sent
    assert not flood.rows("SELECT FROM parked")
    assert not flood.rows("SELECT FROM batches WHERE allocated NOT BETWEEN 0 AND purchased")
    sums = """
        SELECT reference FROM batches AS b WHERE allocated <> (
            SELECT coalesce(sum(qty), 0) FROM order_lines AS l WHERE l.batchref = b.reference
        ) OR line_count <> (SELECT count(*) FROM order_lines AS l WHERE l.batchref = b.reference)
    """
    assert not flood.rows(sums)
    flood.assert_events_in_order()
    kinds = dict(flood.rows("SELECT regexp_replace(topic, '.*[.]', ''), count(*) FROM outbox GROUP BY 1"))
    assert kinds["line_allocated"] - kinds.get("line_deallocated", 0) == flood.number(
        "SELECT count(*) FROM order_lines"
    )


def compete(
    settings: config.Settings,
    *people: Person,
    orders: int = ORDERS,
    has_happened: Callable[[list[str]], bool] = lambda _said: True,
) -> None:
    """Have orders handled, more of them until what the workers have said tells that it has happened; check all."""
    dynamic = settings.model_copy(update={"batch_size": 25, "session_timeout_ms": 3000})
    with floods.flood(dynamic) as flood:
        with (
            meanwhile.doing(*(person.repeat for person in people)),
            parts.running("worker", dynamic) as first,
            parts.running("worker", dynamic) as second,
        ):
            # Of what is there before, the one that is up first may leave nothing to the other.
            half = 3 * PARTITIONS // 2  # of three topics
            waiting.wait_until(lambda: parts.share(first) == parts.share(second) == half, deadline_s=parts.DEADLINE_S)
            for round_ in range(MOST_ROUNDS):
                scatter(flood, orders, round_=round_)
                flood.await_handled()
                if has_happened([*first.said, *second.said]):
                    break
            else:
                pytest.fail(f"it has not happened in {MOST_ROUNDS} rounds")
            for worker in (first, second):
                worker.logged("worker.batch")
                assert worker.stop() == 0
                assert "worker.message_set_aside" not in "".join(worker.said)
        check(flood)


@pytest.mark.long
def test_two_workers_and_a_person_who_locks_the_products(initialised: config.Settings) -> None:
    locking = Person(initialised, ("SELECT FROM products WHERE sku = 'LAMP' FOR UPDATE", "SELECT pg_sleep(0.05)"))
    compete(initialised, locking)
    assert locking.committed > 0


def test_two_workers_and_a_person_who_changes_the_products(initialised: config.Settings) -> None:
    changing = Person(initialised, ("UPDATE products SET version_number = version_number + 1 WHERE sku = 'LAMP'",))
    compete(initialised, changing, has_happened=lambda said: any("another writer has changed" in line for line in said))
    assert changing.committed > 0


def test_two_workers_and_a_person_who_locks_in_another_order_than_they(initialised: config.Settings) -> None:
    """The server ends one of two that wait for each other; the worker then tries again."""
    contrary = Person(
        initialised,
        (
            "UPDATE batches SET eta = eta WHERE sku = 'LAMP'",
            "SELECT pg_sleep(0.05)",
            "UPDATE products SET event_sequence = event_sequence WHERE sku IN ('LAMP', 'TABLE')",
            "SELECT FROM locks WHERE name = 'sku:LAMP' FOR UPDATE",
        ),
    )
    compete(initialised, contrary, orders=400)  # a deadlock takes a second to be seen
    assert contrary.committed + contrary.deadlocked > 0
    floods.tell(f"a person's transactions: {contrary.committed} committed, {contrary.deadlocked} deadlocked")
