"""One PostgreSQL transaction for one micro-batch, with a fixed number of statements.

The order is the guarantee: locks first, in statements of their own, then reads, then (in memory) the
work, then the differences in bulk. A read in the locking statement would wait and then see the rows
as they were before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import psycopg2
import psycopg2.extensions

from allocation.adapters.postgres import (
    engine,
    inbox,
    locks,
    notifications,
    outgoing,
    parked,
    positions,
    prepared,
    reads,
    repository,
    writes,
)
from allocation.domain import commands
from allocation.service_layer import kill_points, messages, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    import sqlalchemy

    from allocation.domain import events
    from allocation.service_layer import external_events

    Messages = Sequence[messages.Message]
    Commands = Sequence[commands.Command]
    Names = Collection[str]

# All goes by index, whatever the planner takes a table to be: on one that grows, it would change its mind at 100,000
# rows and read the whole of it for each micro-batch.
_BEGIN = """
BEGIN;
SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off; SET LOCAL jit = off; SET LOCAL plan_cache_mode = force_generic_plan
"""
# The relay and the API hear of it when it is committed, and not otherwise.
_COMMIT = f"{notifications.NOTIFY}; COMMIT"
_NOW = "SELECT now()"
_FEW = 100  # messages for which making plans costs more than it can save


class PostgresUnitOfWork:
    """See `unit_of_work.MessageUnitOfWork`; a new one for each transaction."""

    products: repository.PostgresProducts

    def __init__(self, database: sqlalchemy.Engine, *, journal_topic: str) -> None:
        self._database = database
        self._journal_topic = journal_topic
        self._announced: list[external_events.ExternalEvent] = []
        self._outbox: list[messages.OutboxMessage] = []
        self._moves: list[positions.Move] = []
        self._journal: list[list[object]] | None = None
        self._oldest_ms: int | None = None
        self._now: datetime | None = None

    @property
    def now(self) -> datetime:
        """The transaction's time by the database's clock, or the one that was set."""
        if self._now is None:
            with engine.translated_errors():
                self._cursor.execute(_NOW)
                (self._now,) = self._cursor.fetchone()
        return self._now

    @now.setter
    def now(self, now: datetime) -> None:
        self._now = now

    def __enter__(self) -> Self:
        with engine.translated_errors():
            self._connection = self._database.raw_connection()
            self._driver: Any = self._connection.driver_connection
            try:
                self._begin()
            except BaseException:
                self._connection.invalidate()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self._driver.info.transaction_status != psycopg2.extensions.TRANSACTION_STATUS_IDLE:
                self._cursor.execute("ROLLBACK")
            self._driver.autocommit = False
            self._connection.close()
        except psycopg2.Error:  # the connection broke, and so the server has rolled back
            self._connection.invalidate()
        except BaseException:  # the pool does not know of the transaction, which may still be open
            self._connection.invalidate()
            raise

    def positions(
        self, logs: Collection[messages.LogPartition]
    ) -> Mapping[messages.LogPartition, unit_of_work.Position]:
        """Read how far these logs are handled."""
        with engine.translated_errors():
            return positions.read(self._cursor, logs)

    def claim(
        self,
        claimed: Sequence[messages.Message],
        *,
        heads_suffice: bool = False,
        oldest_of: Collection[str] = (),
        ids: Collection[int] = (),
        at_most: int | None = None,
    ) -> None:
        """Lock all that these messages name, references first, then read it."""
        self._cursor.reuses_plans = len(claimed) <= _FEW and not oldest_of
        with engine.translated_errors():
            named = messages.commands_of(claimed)
            skus, refs = repository.names_in(named)
            skus.update(name.removeprefix("sku:") for name in oldest_of if name.startswith("sku:"))
            refs.update(name.removeprefix("ref:") for name in oldest_of if name.startswith("ref:"))
            queues = self._lock(refs, skus)
            # What becomes of those that wait may be written, too.
            heads_of: Names = ()
            if oldest_of:
                waiting = self._parked.load_oldest_of_each(oldest_of, ids, at_most=at_most)
            elif heads_suffice:
                released = self._released_by(named)
                waiting = self._parked.load_oldest_of_all(released)
                heads_of = queues - released
            else:
                waiting = self._parked.load(queues)
            # A parked command may name another sku's batch; it is loaded only to be refused.
            skus |= self.products.skus_concerned(messages.commands_of(waiting))
            every = [*claimed, *waiting]
            heads = self._read(skus, every, heads_of=heads_of)
            if heads:  # what they concern once more, with what was known of it
                again = self.products.skus_concerned(messages.commands_of(heads))
                self._read(again, heads, besides=repository.concerning(again, messages.commands_of(every)))

    def inbox_entry(self, id: messages.MessageId) -> unit_of_work.InboxEntry | None:  # noqa: A002 - CloudEvents' word
        """Return what became of a claimed message's identity."""
        return self._inbox.get(id)

    def record(self, entry: unit_of_work.InboxEntry) -> None:
        """Write what became of a message, at commit."""
        self._inbox.record(entry)

    def parked(self, queues: Collection[str]) -> Sequence[unit_of_work.ParkedCommand]:
        """Return what is parked in these queues, the oldest first."""
        return self._parked.of(queues)

    def queues_naming(self, batchref: str) -> Collection[str]:
        """Return the queues that hold a command for this batch reference."""
        return self._parked.queues_naming(batchref)

    def is_occupied(self, queue: str) -> bool:
        """Tell whether anything is parked in a claimed queue."""
        return self._parked.is_occupied(queue)

    def has_more(self, queue: str) -> bool:
        """Tell whether there may be more in a queue than was loaded."""
        return self._parked.has_more(queue)

    def bars_batches(self, queue: str) -> bool:
        """Tell whether a new batch must stand behind this queue."""
        return self._parked.bars_batches(queue)

    def release_later(self, queues: Collection[str]) -> None:
        """Note, at commit, that these queues can be gone through further."""
        self._parked.release_later(queues)

    def release_ended(self, queues: Collection[str]) -> None:
        """Note, at commit, that these cannot."""
        self._parked.release_ended(queues)

    def move_queue(self, queue: str, *, to: str) -> None:
        """Put all of a queue into another, at commit."""
        self._parked.move_queue(queue, to=to)

    def repark(self, parked: unit_of_work.ParkedCommand) -> None:
        """Change why a command is parked, at commit."""
        self._parked.repark(parked)

    def park(self, parked: unit_of_work.ParkedCommand) -> None:
        """Add a command at the end of its queue, at commit."""
        self._parked.add(parked)

    def unpark(self, parked: unit_of_work.ParkedCommand) -> None:
        """Take a command out of its queue, at commit."""
        self._parked.remove(parked)

    def announce(self, event: external_events.ExternalEvent) -> None:
        """Take an event that a handler wants published."""
        self._announced.append(event)

    def take_announced(self) -> Sequence[external_events.ExternalEvent]:
        """Return the events announced since the last call."""
        announced, self._announced = self._announced, []
        return announced

    def collect_new_events(self) -> Iterable[events.Event | commands.Command]:
        """Hand over what the products want handled."""
        return self.products.collect_new_events()

    def next_sequence(self, sku: str) -> int:
        """Return the number of the next event of a sku."""
        return self.products.next_sequence(sku)

    def send(self, outgoing: messages.OutboxMessage) -> None:
        """Put a message into the outbox, at commit."""
        self._outbox.append(outgoing)

    def journal(self, entries: Iterable[unit_of_work.JournalEntry], *, oldest_ms: int | None = None) -> None:
        """Write the journal's row at commit, and put it into the outbox before all else of this transaction."""
        self._journal = [list(entry) for entry in entries]
        self._oldest_ms = oldest_ms

    def advance(
        self, log: messages.LogPartition, *, expected: unit_of_work.Position | None, new: unit_of_work.Position
    ) -> None:
        """Move a position, at commit."""
        self._moves.append(positions.Move(log, expected, new))

    def commit(self) -> None:
        """Write all differences and commit; the relay and the API are told."""
        with engine.translated_errors():
            changes = self._changes()
            changes.send_many()
            kill_points.reached("worker.before_commit")
            changes.finish(_COMMIT)

    def _begin(self) -> None:
        self._driver.autocommit = True  # else it begins by itself, with a statement of its own
        has = self._connection.info.setdefault("prepared", prepared.Prepared())
        self._cursor = prepared.Cursor(self._driver.cursor(), has)
        self._cursor.precede(has.planning_anew() + _BEGIN)
        self.products = repository.PostgresProducts(self._cursor)
        self._inbox = inbox.Inbox()
        self._parked = parked.Parked(self._cursor)

    def _read(self, skus: Names, given: Messages, *, besides: Commands = (), heads_of: Names = ()) -> Messages:
        """Read what is known of these messages, and the oldest of what is parked in these queues; return the latter."""
        asked = reads.Reads(self._cursor)
        asked.add(_NOW, (), columns=1, take=self._take_now)
        self._inbox.read(asked, [message.id for message in given])
        self.products.read(asked, skus, [*besides, *messages.commands_of(given)])
        heads = self._parked.read_heads(asked, heads_of)
        asked.send()
        return heads

    def _take_now(self, rows: reads.Rows) -> None:
        ((self._now,),) = rows

    def _changes(self) -> writes.Writes:
        changes = writes.Writes(self._cursor)
        positions.move(changes, self._moves)
        self.products.flush(changes)
        self._parked.flush()
        self._inbox.flush(changes)
        row = None
        if self._journal is not None:
            row = outgoing.JournalRow(self._journal_topic, self.now, self._journal, self._oldest_ms)
        outgoing.insert(changes, self._outbox, journal=row)
        return changes

    def _released_by(self, named: Iterable[commands.Command]) -> set[str]:
        created = [command for command in named if isinstance(command, commands.CreateBatch)]
        if not created:
            return set()
        queues = {unit_of_work.sku_queue(command.sku) for command in created}
        queues.update(unit_of_work.ref_queue(command.ref) for command in created)
        return queues.union(*(self._parked.queues_naming(command.ref) for command in created))

    def _lock(self, refs: Collection[str], skus: set[str]) -> set[str]:
        """Lock the references, then these skus and those that the references lead to; return all names."""
        names = {unit_of_work.ref_queue(ref) for ref in refs}
        of_skus = {unit_of_work.sku_queue(sku) for sku in skus}
        if refs:
            locks.lock(self._cursor, names)
            skus.update(self.products.skus_of(refs))
            of_skus = {unit_of_work.sku_queue(sku) for sku in skus}
            of_skus |= self._parked.find_naming(refs) - names
        locks.lock(self._cursor, of_skus)
        skus.update(name.removeprefix("sku:") for name in of_skus)
        return names | of_skus
