"""What the journal says became of each record, and in which order.

An entry is a run of records of one log. The first word that it has for a record says what became of
it when it was read from its log; for one that had to wait, a second word says how that ended.
"""

from __future__ import annotations

import bisect
import itertools
import json
from collections import defaultdict
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from allocation.service_layer import unit_of_work
from allocation.service_layer.operations.verify import snapshot
from allocation.service_layer.operations.verify.findings import Check, Findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from allocation.service_layer import messages
    from allocation.service_layer.operations.verify import repeats

ENDS_OF_WAITING = frozenset({"released", "expired", "discarded"})


class Order(NamedTuple):
    """When something was done: the number of the journal's row, and the place of the entry in it."""

    number: int
    entry: int


class Run(NamedTuple):
    """An entry with its order."""

    order: Order
    what: str
    first: int
    last: int
    handled_at: datetime


class Fate(NamedTuple):
    """What became of one record: at first, and once it had waited."""

    first: Run | None
    end: Run | None


class Journal:
    """Finds what was done with a record."""

    def __init__(self, rows: Iterable[snapshot.JournalRow], *, findings: Findings) -> None:
        self._findings = findings
        self._firsts: dict[tuple[str, int], list[Run]] = defaultdict(list)
        self._ends: dict[tuple[str, int], list[Run]] = defaultdict(list)
        for row in rows:
            for index, entry in enumerate(row.entries):
                runs = self._ends if entry.what in ENDS_OF_WAITING else self._firsts
                run = Run(Order(row.number, index), entry.what, entry.first, entry.last, row.handled_at)
                runs[entry.topic, entry.partition].append(run)
        for runs in (self._firsts, self._ends):
            for log, of_log in runs.items():
                of_log.sort(key=attrgetter("first"))
                self._check_overlaps(log, of_log)

    def fate(self, at: snapshot.Coordinates) -> Fate:
        """Return what became of the record there."""
        log = (at.topic, at.partition)
        return Fate(_covering(self._firsts.get(log, ()), at.offset), _covering(self._ends.get(log, ()), at.offset))

    def _check_overlaps(self, log: tuple[str, int], runs: Sequence[Run]) -> None:
        for earlier, later in itertools.pairwise(runs):
            if later.first <= earlier.last:
                text = (
                    f"offsets {later.first} to {min(earlier.last, later.last)} are both {earlier.what} in row "
                    f"{earlier.order.number} of the journal and {later.what} in row {later.order.number}"
                )
                self._findings.add(Check.JOURNAL, f"{log[0]}/{log[1]}", text)


class JournalTopic:
    """Compares the journal's rows with the records on its topic, and with those in the outbox.

    `pruned` are the rows that the database had for so long that it has them no more.
    """

    def __init__(
        self,
        rows: Iterable[snapshot.JournalRow],
        *,
        pruned_before: datetime | None,
        repeats: repeats.Repeats,
        findings: Findings,
    ) -> None:
        self._rows = {row.number: [list(entry) for entry in row.entries] for row in rows}
        self._pruned_before = pruned_before
        self._repeats = repeats
        self.pruned: list[snapshot.JournalRow] = []
        self._findings = findings
        self._places: dict[int, str] = {}
        self._newer: set[int] = set()

    def add(self, record: messages.Record) -> None:
        """Take the next record of the topic."""
        place = f"{record.topic}/{record.partition}/{record.offset}"
        number = self._compare(record.value, place)
        known = number is not None and self._places.setdefault(number, place)
        if known and known != place and not self._repeats.allow(record):
            self._findings.add(Check.JOURNAL, place, f"row {number} of the journal is there twice: also at {known}")

    def add_unsent(self, row: snapshot.OutboxRow) -> None:
        """Take the next row of the outbox."""
        number = self._compare(row.value, f"outbox row {row.id}")
        if number is not None:
            self._places.setdefault(number, f"outbox row {row.id}")

    def finish(self, later: Iterable[int]) -> None:
        """See that nothing is missing; `later` are the numbers in the database at a later moment."""
        self._findings.compared[Check.JOURNAL] = len(self._rows)
        for number in sorted(self._rows.keys() - self._places.keys()):
            self._findings.add(Check.JOURNAL, f"row {number}", "is neither on the journal's topic nor in the outbox")
        for number in sorted(self._newer.difference(later)):
            text = f"is at {self._places[number]}, but not in the database: was it restored from a back-up?"
            self._findings.add(Check.JOURNAL, f"row {number}", text)

    def _compare(self, value: bytes | None, place: str) -> int | None:
        try:
            row = _read(value)
        except (KeyError, TypeError, ValueError):
            self._findings.add(Check.JOURNAL, place, "is no row of a journal")
            return None
        number = row.number
        if number in self._rows:
            if [list(entry) for entry in row.entries] != self._rows[number]:
                self._findings.add(Check.JOURNAL, place, f"differs from row {number} of the journal in the database")
        elif self._pruned_before is not None and row.handled_at < self._pruned_before:
            if number not in self._places:
                self.pruned.append(row)
        else:
            self._newer.add(number)
        return number


def _read(value: bytes | None) -> snapshot.JournalRow:
    content = json.loads(value or b"")
    entries = [unit_of_work.JournalEntry(*entry) for entry in content["entries"]]
    return snapshot.JournalRow(int(content["number"]), entries, datetime.fromisoformat(content["handled_at"]))


def _covering(runs: Sequence[Run], offset: int) -> Run | None:
    index = bisect.bisect_right(runs, offset, key=attrgetter("first")) - 1
    return runs[index] if index >= 0 and runs[index].last >= offset else None
