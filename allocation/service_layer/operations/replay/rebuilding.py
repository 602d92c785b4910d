"""Fill a database from the journal and the command topics, or let an old one catch up.

What the database has is left alone, what it lacks is done in the journal's order, and no timer runs: so the
same journal gives the same rows, however often, and however often this is cut short and begun again. Without a
journal the order is that of the timestamps, and nobody can promise that it is the one that there was.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from allocation.service_layer import failure_policy, messages, processing, reading, reporting, unit_of_work
from allocation.service_layer.operations.replay import journal_order, rebuilding_batch
from allocation.service_layer.operations.replay import rebuilding_ports as ports

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from allocation.service_layer import envelopes

RECORDS = 4000  # in one transaction: as many as a worker's by default, whatever the size of those that are done again
_LEAST_GRACE_S = 1.0  # with a grace of 0 nothing would wait, though the journal may say that something did


@dataclass(slots=True)
class Summary:
    """What was done: rows of the journal, and records by what became of them.

    `is_exact` is False when there was no journal to go by. `uncovered` counts records that no row names.
    """

    rows: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    events: int = 0
    is_exact: bool = True
    uncovered: int = 0


class _Step(NamedTuple):
    """One thing to do: with a message from its log, or (None) with what is parked from `place`."""

    what: str
    place: ports.Place
    message: messages.Message | None


class Rebuild:
    """One run over one database; every method blocks, and raises `JournalUnusable` and `Retryable`.

    May be begun again after any error: what is committed is not done a second time.
    """

    def __init__(
        self,
        *,
        target: ports.Target,
        logs: ports.CommandLogs,
        reader: reading.MessageReader,
        envelopes: envelopes.Envelopes,
        outbound: ports.Outbound,
        grace_s: float,
    ) -> None:
        self._target = target
        self._logs = logs
        self._reader = reader
        self._envelopes = envelopes
        self._outbound = outbound
        self._grace_s = max(grace_s, _LEAST_GRACE_S)
        self._waiting = {rebuilding_batch.place_of(one.record): one for one in target.parked()}
        self._forced: set[ports.Place] = set()

    def by_journal(self, rows: Sequence[journal_order.Row], *, on_progress: ports.Progress) -> Summary:
        """Do these rows, in the order of their numbers."""
        summary = Summary(rows=len(rows))
        done, total = 0, sum(row.size for row in rows)
        for chunk in journal_order.chunks(rows, records=RECORDS):
            batch = self._do(chunk)
            summary.counts.update(reporting.words(batch.fates))
            summary.events += sum(map(len, batch.announced.values()))
            done += sum(row.size for row in chunk)
            on_progress("handling by the journal", done, total)
        self._target.finish()
        summary.uncovered = self._logs.passed_over
        return summary

    def by_time(self, *, until: datetime | None, on_progress: ports.Progress) -> Summary:
        """Handle all records in the order of their timestamps, as far as it lacks them."""
        summary = Summary(is_exact=False)
        policy = failure_policy.FailurePolicy(
            processing.Processor(
                begin=lambda: self._target.begin(self._outbound),
                reader=self._reader,
                envelopes=self._envelopes,
                grace_s=self._grace_s,
            ),
            max_retries=0,
        )
        done = 0
        for chunk in _by_count(self._logs.in_order_of_time(until=until)):
            for report in policy.process(chunk):
                summary.counts.update(report.outcomes)
                summary.events += report.events
            done += len(chunk)
            on_progress("handling by timestamps", done, max(done, self._logs.total))
        return summary

    def _do(self, rows: Sequence[journal_order.Row]) -> rebuilding_batch.ObedientBatch:
        steps = [(row, [step for entry in row.entries for step in self._steps(entry)]) for row in rows]
        while True:
            try:
                batch = self._attempt(steps)
            except rebuilding_batch.HandledNow as error:
                self._forced.add(error.place)
            else:
                self._note(step for _, of_row in steps for step in of_row)
                return batch

    def _steps(self, entry: unit_of_work.JournalEntry) -> Iterable[_Step]:
        if entry.what in journal_order.FIRST_WORDS:
            for record in self._logs.take(entry):
                yield _Step(entry.what, rebuilding_batch.place_of(record), self._read(record))
        else:
            for offset in range(entry.first, entry.last + 1):
                yield _Step(entry.what, ports.Place(entry.topic, entry.partition, offset), None)

    def _attempt(self, steps: Sequence[tuple[journal_order.Row, Sequence[_Step]]]) -> rebuilding_batch.ObedientBatch:
        every = [step for _, of_row in steps for step in of_row]
        last = {step.message.record.log: step.message.record for step in every if step.message is not None}
        with self._target.begin(self._outbound) as uow:
            positions = uow.positions(last.keys())
            named = [message for step in every if (message := step.message or self._waiting.get(step.place))]
            uow.claim(named, heads_suffice=True)
            uow.seek([step.place for step in every if step.message is None])
            batch = rebuilding_batch.ObedientBatch(
                uow, envelopes=self._envelopes, grace=timedelta(seconds=self._grace_s), forced=self._forced
            )
            for row, of_row in steps:
                uow.now = row.handled_at
                _obey(batch, row, of_row)
            uow.keep_journal([row for row, _ in steps])
            _advance(uow, positions, last)
            uow.commit()
        return batch

    def _note(self, steps: Iterable[_Step]) -> None:
        """Remember what is parked now."""
        for step in steps:
            if step.message is None:
                self._waiting.pop(step.place, None)
            elif step.what in {"waited", "queued", "poisoned"}:
                self._waiting[step.place] = step.message

    def _read(self, record: messages.Record) -> messages.Message:
        return processing.read_if_possible(self._reader, record)


def _obey(batch: rebuilding_batch.ObedientBatch, row: journal_order.Row, steps: Sequence[_Step]) -> None:
    for step in steps:
        if step.message is None:
            batch.obey_end(step.what, step.place, row=row.number)
        else:
            batch.obey(step.what, step.message)


def _advance(
    uow: unit_of_work.MessageUnitOfWork,
    positions: Mapping[messages.LogPartition, unit_of_work.Position],
    last: Mapping[messages.LogPartition, messages.Record],
) -> None:
    for log, record in last.items():
        uow.advance(log, expected=positions.get(log), new=processing.position_after(record))


def _by_count(records: Iterable[messages.Record]) -> Iterable[list[messages.Record]]:
    chunk: list[messages.Record] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == RECORDS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
