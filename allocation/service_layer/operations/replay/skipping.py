"""Pass over a part of a log on purpose: its commands are never handled.

The position is moved from the value that was read, in the transaction of the journal's and the audit's
row, so workers may go on meanwhile: whoever comes second finds the position moved, and starts over. What
they have handled before is not skipped, what is skipped they do not handle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocation.service_layer import messages, reading, unit_of_work
from allocation.service_layer.operations import audit, conflicts
from allocation.service_layer.operations.replay import ports, targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from allocation.service_layer.operations.verify import ports as verify

SKIPPED = "skipped"  # the journal's word
_PROGRESS_EVERY = 1000  # records
_ATTEMPTS = 5  # a worker moves a position some hundred times a second at most


@dataclass(frozen=True, slots=True)
class Skipped:
    """Offsets `first` to `last` of a partition, and how many commands lie there."""

    at: ports.TopicPartition
    first: int
    last: int
    commands: int


class Skipper:
    """Works on one installation; every method blocks."""

    def __init__(
        self,
        *,
        logs: ports.Logs,
        positions: ports.Positions,
        begin: Callable[[], audit.OperatorUnitOfWork],
    ) -> None:
        self._logs = logs
        self._positions = positions
        self._begin = begin

    @conflicts.retried(attempts=_ATTEMPTS)
    def skip(
        self,
        at: ports.TopicPartition,
        target: targets.ToOffset | targets.ToTime,
        note: audit.Note,
        *,
        dry_run: bool,
        on_progress: ports.Progress,
    ) -> Skipped:
        """Go on at the target instead of at the position; raises `CannotReplay` when that is no way ahead."""
        bounds = targets.chosen(self._logs.bounds([at.topic]), [at.partition])[at]
        log = messages.LogPartition(bounds.topic_id, at.partition)
        position = self._positions().get(log)
        end = targets.offsets(target, logs=self._logs, bounds={at: bounds}, current={})[at]
        first = _first(at, bounds, position, end)
        last_record, count = self._read(at, first, end, on_progress)
        if not dry_run:
            new = _moved(position or unit_of_work.Position(at.topic, first, 0, -1, b""), end, last_record)
            with self._begin() as uow:
                uow.journal([unit_of_work.JournalEntry(SKIPPED, at.topic, at.partition, first, end - 1)])
                uow.advance(log, expected=position, new=new)
                uow.write_audit([audit.Entry("replay.skipped", f"{at} offsets {first} to {end - 1}", note)])
                uow.commit()
        return Skipped(at, first, end - 1, count)

    def _read(
        self, at: ports.TopicPartition, first: int, end: int, on_progress: ports.Progress
    ) -> tuple[messages.Record | None, int]:
        last, count = None, 0
        for record in self._logs.between({at: first}, {at: end}):
            last, count = record, count + 1
            if not count % _PROGRESS_EVERY:
                on_progress(str(at), record.offset - first + 1, end - first)
        return last, count


def _first(at: ports.TopicPartition, bounds: verify.Bounds, position: unit_of_work.Position | None, end: int) -> int:
    first = bounds.begin if position is None else position.next_offset
    if not bounds.begin <= first <= bounds.end:
        raise ports.CannotReplay(
            f"{at} holds offsets {bounds.begin} to {bounds.end}, but the next to handle is {first}; decide on that "
            "first, with `allocation position adopt` or `restart`"
        )
    if end <= first:
        raise ports.CannotReplay(f"{at} is handled up to offset {first} already, so nothing lies before {end} to skip")
    return first


def _moved(position: unit_of_work.Position, next_offset: int, last: messages.Record | None) -> unit_of_work.Position:
    """Return the position behind what was skipped; the log is recognised by the last record skipped, as ever."""
    if last is None:
        return position._replace(next_offset=next_offset)
    return position._replace(
        next_offset=next_offset,
        leader_epoch=last.leader_epoch,
        last_offset=last.offset,
        last_digest=reading.record_digest(last),
    )
