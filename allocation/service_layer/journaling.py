"""What a micro-batch did: as the runs of records that the journal keeps, and in numbers, counted by run."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from allocation.service_layer import reading, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.service_layer import messages


class Fate(NamedTuple):
    """What became of a command from this topic, in the journal's word."""

    topic: str
    what: str


class Runs:
    """Joins what was done, in the order of doing, to runs of one log each."""

    __slots__ = ("_counts", "_done", "_first", "_last", "_oldest", "_partition", "_size", "_topic", "_what")

    def __init__(self) -> None:
        self._done: list[unit_of_work.JournalEntry] = []
        self._counts: dict[tuple[str, str], int] = defaultdict(int)  # in plain tuples: there may be a run a record
        self._oldest: messages.Record | None = None  # of those read from their logs; in one, the first of a run is it
        self._what = ""
        self._topic = ""
        self._partition = self._first = self._last = self._size = 0

    def note(self, what: str, record: messages.Record, *, is_from_log: bool) -> None:
        """Add a record.

        What is read from a log has every record in between; what was parked has not, and is next to it or apart.
        """
        offset = record.offset
        is_same = what == self._what and record.partition == self._partition and record.topic == self._topic
        if is_same and (offset == self._last + 1 or (is_from_log and offset > self._last)):
            self._last = offset
            self._size += 1  # not the difference of offsets: a log has gaps
            return
        self._end()
        if is_from_log and (self._oldest is None or record.timestamp_ms < self._oldest.timestamp_ms):
            self._oldest = record
        self._what, self._topic, self._partition = what, record.topic, record.partition
        self._first = self._last = offset
        self._size = 1

    def count(self, what: str, record: messages.Record) -> None:
        """Count a record that the journal is not told of."""
        self._counts[record.topic, what] += 1

    @property
    def since_ms(self) -> int | None:
        """When that was sent which lay in Kafka the longest, of those read from their logs; None if there are none."""
        return None if self._oldest is None else reading.sent_ms(self._oldest)

    def counted(self) -> Counter[Fate]:
        """Return how many were noted or counted so far."""
        counts = Counter({Fate(*of): count for of, count in self._counts.items()})
        if self._size:
            counts[Fate(self._topic, self._what)] += self._size
        return counts

    def taken(self) -> Sequence[unit_of_work.JournalEntry]:
        """Return all runs; nothing may be noted after."""
        self._end()
        return self._done

    def _end(self) -> None:
        if self._what:
            run = unit_of_work.JournalEntry(self._what, self._topic, self._partition, self._first, self._last)
            self._done.append(run)
            self._counts[self._topic, self._what] += self._size
            self._size = 0
