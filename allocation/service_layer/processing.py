"""Take micro-batches of records through one unit of work each.

Guards that a record's effect happens once: what lies below the stored position is skipped, and the
position moves in the transaction that holds the effect, only from the value that was read.
"""

from __future__ import annotations

import operator
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from allocation.service_layer import (
    draining,
    kill_points,
    messages,
    ports,
    reading,
    reporting,
    settling,
    unit_of_work,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from allocation.service_layer import envelopes, failures

    Failed = Mapping[draining.Culprit, failures.Failure]


_NONE: Failed = MappingProxyType({})

_log_of: Callable[[messages.Record], Any] = operator.attrgetter(
    "topic_id", "partition"
)  # equal to `record.log`, in a third of its time


class LogDiverged(Exception):
    """A log is not the one that the database knows: truncated, or another in its place."""

    def __init__(self, topic: str, partition: int, problem: str) -> None:
        super().__init__(
            f"{topic}/{partition}: {problem}; it is handled no further until `allocation position adopt` or `restart`"
        )
        self.topic = topic
        self.partition = partition


class GoneBack(ports.DependencyDown):
    """The database has lost what was committed to it; whoever goes on reads the logs from its positions again."""


class Processor:
    """Handles records; every method blocks, and raises `Retryable` when it must be called again."""

    def __init__(
        self,
        *,
        begin: Callable[[], unit_of_work.MessageUnitOfWork],
        reader: reading.MessageReader,
        envelopes: envelopes.Envelopes,
        grace_s: float,
    ) -> None:
        self._begin = begin
        self._reader = reader
        self._envelopes = envelopes
        self._grace = timedelta(seconds=grace_s)
        self._reached: dict[messages.LogPartition, int] = {}

    def process(self, records: Sequence[messages.Record], *, failed: Failed = _NONE) -> reporting.Report:
        """Handle these records in this order, all or nothing; raises `draining.Failed` when a parked one fails.

        `failed` are parked commands that failed before: they are poisoned when their turn comes.
        """
        return self._in_order(records, self._reader.read, lambda batch, message: batch.settle(message), failed)

    def set_aside(self, record: messages.Record, *, failure: failures.Failure) -> reporting.Report:
        """Park a record that cannot be handled although it should be; what follows it goes on.

        One that cannot even be read goes to the dead letters.
        """
        return self._in_order(
            [record],
            lambda one: read_if_possible(self._reader, one),
            lambda batch, message: batch.set_aside(message, failure),
            _NONE,
        )

    def expire(
        self,
        overdue: Sequence[unit_of_work.ParkedCommand],
        *,
        expired_at: datetime,
        at_most: int | None = None,
        failed: Failed = _NONE,
    ) -> reporting.Report:
        """Refuse these commands if their grace ended by then and they still wait; handle what stands behind them.

        As far as one transaction goes, and with `at_most` so many commands: for the rest of a queue there is `release`.
        Raises `draining.Failed`.
        """
        queues = {parked.queue for parked in overdue}
        claimed = {parked.id for parked in overdue}
        terms = draining.Terms(expired_at=expired_at, claimed=claimed, failed=failed)
        with self._begin() as uow:
            uow.claim([parked.message for parked in overdue], oldest_of=queues, at_most=at_most)
            batch = self._batch(uow)
            with batch.go_through(queues, terms).answering():
                batch.finish()
                uow.commit()
        return reporting.of(batch)

    def release(
        self,
        queues: Collection[str],
        creations: Sequence[unit_of_work.ParkedCommand],
        *,
        at_most: int | None = None,
        failed: Failed = _NONE,
    ) -> reporting.Report:
        """Go on with the release of queues, as far as one transaction goes, and with `at_most` so many commands.

        `creations` are first `CreateBatch` there. Raises `draining.Failed`.
        """
        terms = draining.Terms(claimed={parked.id for parked in creations}, failed=failed)
        kill_points.reached("worker.before_release")
        with self._begin() as uow:
            uow.claim([parked.message for parked in creations], oldest_of=queues, at_most=at_most)
            batch = self._batch(uow)
            way = batch.go_through(queues, terms)
            uow.release_ended(set(queues) - way.unfinished)
            with way.answering():
                batch.finish()
                uow.commit()
        return reporting.of(batch)

    def pass_over(self, end: messages.LogEnd) -> None:
        """Move a position to the end of its log, over what is no record (markers of transactions)."""
        with self._begin() as uow:
            positions = uow.positions([end.log])
            self._check_has_not_gone_back({end.log: end}, positions)
            position = positions.get(end.log)
            if position is None and end.after < end.next_offset:
                new = unit_of_work.Position(end.topic, end.next_offset, 0, -1, b"")
            elif position is not None and end.after <= position.next_offset < end.next_offset:
                new = position._replace(next_offset=end.next_offset)
            else:
                return
            uow.advance(end.log, expected=position, new=new)
            uow.commit()
        self._reached[end.log] = end.next_offset

    def forget(self, log: messages.LogPartition) -> None:
        """Take the stored position of a log as it is: that is where it is read from again."""
        self._reached.pop(log, None)

    def _in_order(
        self,
        records: Sequence[messages.Record],
        read: Callable[[messages.Record], messages.Message],
        settle: Callable[[settling.MicroBatch, messages.Message], object],
        failed: Failed,
    ) -> reporting.Report:
        with self._begin() as uow:
            last = _last_of_each(records)
            positions = uow.positions(last.keys())
            self._check_has_not_gone_back(last, positions)
            fresh = [record for record in records if _is_fresh(record, positions.get(_log_of(record)))]
            repeated = reporting.repeated(records, fresh)
            if not fresh:
                return reporting.Report(repeated=repeated)
            unsettled = [read(record) for record in fresh]
            uow.claim(unsettled, heads_suffice=True)
            batch = self._batch(uow, failed)
            kill_points.reached("worker.before_handling")
            handling_s = reporting.timed(unsettled, lambda message: settle(batch, message))
            batch.finish()
            handled = _last_of_each(fresh)
            for log, record in handled.items():
                uow.advance(log, expected=positions.get(log), new=position_after(record))
            kill_points.reached("worker.after_handling")
            uow.commit()
        self._reached.update({log: record.offset + 1 for log, record in handled.items()})
        return reporting.of(batch, repeated=repeated, handling_s=handling_s)

    def _check_has_not_gone_back(
        self,
        logs: Mapping[messages.LogPartition, messages.Record | messages.LogEnd],
        positions: Mapping[messages.LogPartition, unit_of_work.Position],
    ) -> None:
        """Raise `GoneBack` on a database that has lost what was committed: the log would be gone on with too far."""
        for log, known in logs.items():
            reached = self._reached.get(log, 0)
            next_offset = positions[log].next_offset if log in positions else 0
            if next_offset < reached:
                raise GoneBack(
                    f"the database is older than it was: it had handled {known.topic}/{log.partition} up to offset "
                    f"{reached}, and now up to {next_offset}"
                )

    def _batch(self, uow: unit_of_work.MessageUnitOfWork, failed: Failed = _NONE) -> settling.MicroBatch:
        return settling.MicroBatch(uow, envelopes=self._envelopes, grace=self._grace, failed=failed)


def read_if_possible(reader: reading.MessageReader, record: messages.Record) -> messages.Message:
    """Return the message; an error of any kind makes it one that holds no command. Raises `Retryable`."""
    try:
        return reader.read(record)
    except ports.Retryable:
        raise
    except Exception as error:  # noqa: BLE001 - it is what the record is set aside for
        return reader.unreadable(record, messages.Unreadable("failed", repr(error)))


def position_after(record: messages.Record) -> unit_of_work.Position:
    """Return the position of a log whose last handled record this is."""
    return unit_of_work.Position(
        topic=record.topic,
        next_offset=record.offset + 1,
        leader_epoch=record.leader_epoch,
        last_offset=record.offset,
        last_digest=reading.record_digest(record),
    )


def _last_of_each(records: Iterable[messages.Record]) -> Mapping[messages.LogPartition, messages.Record]:
    last = {_log_of(record): record for record in records}
    return {record.log: record for record in last.values()}


def _is_fresh(record: messages.Record, position: unit_of_work.Position | None) -> bool:
    if position is None or record.offset >= position.next_offset:
        return True
    if record.offset == position.last_offset and reading.record_digest(record) != position.last_digest:
        problem = f"the record at offset {record.offset} is not the one that was handled"
        raise LogDiverged(record.topic, record.partition, problem)
    return False
