"""What a micro-batch did, as the runs of records that the journal keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.service_layer import unit_of_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.service_layer import messages


class Runs:
    """Joins what was done, in the order of doing, to runs of one log each."""

    __slots__ = ("_done", "_first", "_last", "_partition", "_topic", "_what")

    def __init__(self) -> None:
        self._done: list[unit_of_work.JournalEntry] = []
        self._what = ""
        self._topic = ""
        self._partition = self._first = self._last = 0

    def note(self, what: str, record: messages.Record, *, is_from_log: bool) -> None:
        """Add a record.

        What is read from a log has every record in between; what was parked has not, and is next to it or apart.
        """
        offset = record.offset
        is_same = what == self._what and record.partition == self._partition and record.topic == self._topic
        if is_same and (offset == self._last + 1 or (is_from_log and offset > self._last)):
            self._last = offset
            return
        self._end()
        self._what, self._topic, self._partition = what, record.topic, record.partition
        self._first = self._last = offset

    def taken(self) -> Sequence[unit_of_work.JournalEntry]:
        """Return all runs; nothing may be noted after."""
        self._end()
        return self._done

    def _end(self) -> None:
        if self._what:
            run = unit_of_work.JournalEntry(self._what, self._topic, self._partition, self._first, self._last)
            self._done.append(run)
