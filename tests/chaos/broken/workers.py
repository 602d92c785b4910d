"""Workers that lack a remedy each."""

# ruff: noqa: SLF001 - what is taken out lies inside

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import confluent_kafka

from allocation.adapters.kafka import consumer, placement, recognition
from allocation.adapters.postgres import arrays, inbox, locks, positions, reads, repository
from allocation.service_layer import kill_points, processing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from allocation.adapters.kafka import topics
    from allocation.adapters.postgres import writes
    from allocation.service_layer import messages, unit_of_work

_SLOW_S = 0.05

_MOVE_ANYWAY = """
INSERT INTO positions (topic, next_offset, leader_epoch, last_offset, last_digest, topic_id, partition)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (topic_id, partition) DO UPDATE SET next_offset = excluded.next_offset
"""
_LOCK_WHAT_IS_THERE = """
INSERT INTO locks (name) SELECT name FROM unnest(%s::text[]) AS wanted (name)
WHERE EXISTS (SELECT FROM products WHERE 'sku:' || sku = name)
    OR EXISTS (SELECT FROM batches WHERE 'ref:' || reference = name)
ORDER BY name ON CONFLICT DO NOTHING
"""
_READ_WHILE_LOCKING = """
SELECT p.sku, p.version_number, p.event_sequence,
    b.reference, b.created_quantity, b.eta, b.purchased, b.allocated, b.line_count
FROM products AS p JOIN batches AS b USING (sku) WHERE p.sku = ANY(%s) ORDER BY p.sku FOR UPDATE OF p
"""


def slow_commit() -> None:
    """Take time between the work and the commit, so that transactions overlap; by itself this breaks nothing."""
    original = kill_points.reached

    def reached(name: str) -> None:
        if name == "worker.before_commit":
            time.sleep(random.uniform(0, _SLOW_S))
        original(name)

    kill_points.reached = reached


def offset_first() -> None:
    """Commit the group's offset before the work, and begin there: at most once."""
    _begin_at_the_groups_offset()
    original = consumer.GroupConsumer.poll

    def poll(self: consumer.GroupConsumer, max_records: int, *, timeout_s: float) -> Any:
        records = original(self, max_records, timeout_s=timeout_s)
        following = {(record.topic, record.partition): record.offset + 1 for record in records}
        if following:
            offsets = [confluent_kafka.TopicPartition(*key, offset) for key, offset in following.items()]
            self._consumer.commit(offsets=offsets, asynchronous=False)
        return records

    consumer.GroupConsumer.poll = poll  # type: ignore[method-assign]


def no_position_check() -> None:
    """Trust the group's offset, and move the position without looking at it."""
    _begin_at_the_groups_offset()

    def is_fresh(*_: Any) -> bool:
        return True

    def move(changes: writes.Writes, moves: Sequence[positions.Move]) -> None:
        for one in moves:
            changes.change(_MOVE_ANYWAY, (*one.new, *one.log))

    processing._is_fresh = is_fresh  # type: ignore[assignment]
    positions.move = move


def at_least_once() -> None:
    """Have neither position nor inbox: what comes again is handled again."""
    no_position_check()

    def get(*_: Any) -> None:
        pass

    inbox.Inbox.get = get  # type: ignore[method-assign,assignment]


def no_lock_for_the_unknown() -> None:
    """Lock only skus and references that exist."""
    slow_commit()

    def lock(cursor: Any, names: Collection[str]) -> None:
        for statement in (_LOCK_WHAT_IS_THERE, locks._LOCK):
            cursor.execute(statement, (list(names),))

    locks.lock = lock


def read_while_locking() -> None:
    """Lock the products in the statement that reads their batches, and nothing else."""
    slow_commit()

    def lock(*_: Any) -> None:
        pass

    locks.lock = lock  # type: ignore[assignment]
    original = repository.PostgresProducts.read

    def read(
        self: repository.PostgresProducts, asked: reads.Reads, skus: Collection[str], claimed: Iterable[Any]
    ) -> None:
        original(self, asked, skus, claimed)
        products = asked._parts.pop()

        def take(_: reads.Rows) -> None:
            self._cursor.execute(_READ_WHILE_LOCKING, (arrays.texts(skus),))
            products.take(self._cursor.fetchall())

        asked.add("SELECT 1", (), columns=1, take=take)

    repository.PostgresProducts.read = read  # type: ignore[method-assign]


def trusts_the_topic() -> None:
    """Take what comes for a record of the topic that was there at first."""

    def of_the_same_topics(_: Any, records: Any) -> Any:
        return records

    def look(_: Any) -> None:
        pass

    recognition.Recognition.of_the_same_topics = of_the_same_topics  # type: ignore[method-assign,assignment]
    recognition.Recognition.look = look  # type: ignore[method-assign,assignment]


def trusts_the_offset() -> None:
    """Take what lies at the place of the record that was handled last for that record."""

    def is_fresh(record: messages.Record, position: unit_of_work.Position | None) -> bool:
        return position is None or record.offset >= position.next_offset

    processing._is_fresh = is_fresh


def begins_at_once() -> None:
    """Begin with added partitions although what was sent before for the same skus is not handled yet."""
    original = placement._first_place

    def first_place(*arguments: Any) -> placement.Place | placement.Misfit:
        where = original(*arguments)
        return where._replace(after={}) if isinstance(where, placement.Place) else where

    placement._first_place = first_place  # type: ignore[assignment]


def _begin_at_the_groups_offset() -> None:
    def place(
        key: topics.TopicPartition,
        topic_id: str,
        _stored: Any,
        bounds: Mapping[topics.TopicPartition, topics.Watermarks],
        committed: int | None,
    ) -> placement.Place:
        return placement.Place(topic_id, bounds[key].begin if committed is None else committed, recognise=False)

    placement.place = place  # type: ignore[assignment]


VARIANTS: Iterable[Any] = (
    slow_commit,
    offset_first,
    no_position_check,
    at_least_once,
    no_lock_for_the_unknown,
    read_while_locking,
    trusts_the_topic,
    trusts_the_offset,
    begins_at_once,
)
