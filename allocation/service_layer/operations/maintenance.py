"""Take out what is kept for a time only, so that nothing in the database grows without bound.

Runs beside everything else. It goes through a table piece by piece, each piece a short statement that waits
for nobody, and rests after each for as long as it took. What is still needed stays, however old it is: a
command that waits, a decision on a dead letter that is there. What is pruned was noted before, for `verify`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from allocation.service_layer.operations import audit, parked

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from allocation.service_layer import unit_of_work

Progress = Callable[[str, int, int], None]  # which table, how many of its pages, of how many

# 4 MB: some ten milliseconds of work, and at most as many rows as one micro-batch of a backlog writes.
CHUNK_PAGES = 512
# What is noted, as of a table, when all of them were gone through.
EVERYTHING = "everything"
_MAX_REST_S = 1.0
_COMMANDS_AT_ONCE = 100  # the largest possible ones are 100 MB then
_NOTE = audit.Note("maintenance", "parked for longer than ALLOCATION_PARKED_RETENTION_DAYS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """For how long what is kept, in seconds."""

    inbox_s: float
    journal_s: float
    audit_s: float
    parked_s: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows of a table went (or would go), and how old they were; None: their age does not matter."""

    name: str
    rows: int
    before: datetime | None


class Rows(Protocol):
    """The tables; every method is a transaction of its own, and may be repeated."""

    def cutoff(self, age_s: float) -> datetime:
        """Return when it was so many seconds ago by the database's clock."""

    def note(self, name: str, before: datetime) -> None:
        """Note that rows of a table that are older may be missing from now on."""

    def pages(self, name: str) -> int:
        """Return how many pages a table has."""

    def prune(self, name: str, pages: range, given: Mapping[str, object]) -> int:
        """Delete what is to go on these pages, except what somebody holds; return how many rows."""

    def count(self, name: str, pages: range, given: Mapping[str, object]) -> int:
        """Return how many rows would be deleted."""


class Letters(Protocol):
    """The dead-letter topic."""

    def begins(self) -> tuple[str, Sequence[int]]:
        """Return the topic's id, and the first offset that each partition still has."""


class Maintenance:
    """Prunes one installation; may be run at any time, also by two at once."""

    def __init__(self, *, rows: Rows, letters: Letters, parked: parked.ParkedCommands, retention: Retention) -> None:
        self._rows = rows
        self._letters = letters
        self._parked = parked
        self._retention = retention

    def run(
        self, stop: threading.Event, *, dry_run: bool = False, on_progress: Progress = lambda _name, _done, _total: None
    ) -> Iterator[Pruned]:
        """Go through everything once, and yield what came of each table; ends early when the event is set.

        That it went through everything is noted. Raises `DependencyDown`; what was done by then stays done.
        """
        work = _Pass(self._rows, stop, dry_run=dry_run, on_progress=on_progress)
        kept = {
            "inbox": self._retention.inbox_s,
            "journal": self._retention.journal_s,
            "audit": self._retention.audit_s,
        }
        for name, age_s in kept.items():
            yield work.older(name, self._rows.cutoff(age_s))
        yield work.all("locks", {})
        yield Pruned("parked", self._discard(dry_run=dry_run), self._rows.cutoff(self._retention.parked_s))
        topic_id, begins = self._letters.begins()
        yield work.all("dead_letter_decisions", {"topic_id": topic_id, "begins": list(begins)})
        if not dry_run and not stop.is_set():
            self._rows.note(EVERYTHING, self._rows.cutoff(0.0))

    def _discard(self, *, dry_run: bool) -> int:
        """Give up what has failed for too long: it goes to the dead letters, and what stood behind it goes on."""
        if dry_run:
            return len(self._failed_for_too_long(limit=None))
        gone = 0
        while old := self._failed_for_too_long(limit=_COMMANDS_AT_ONCE):
            done = sum(result.counts["discarded"] for result in self._parked.discard(old, _NOTE))
            gone += done
            if not done:  # an operator was quicker
                break
        return gone

    def _failed_for_too_long(self, *, limit: int | None) -> list[unit_of_work.ParkedCommand]:
        """Return the oldest of them; they stand in the order in which they were parked."""
        poisoned = self._parked.find(parked.Filter(states=("poisoned",)), limit=limit)
        return [one.parked for one in poisoned if one.age_s > self._retention.parked_s]


class _Pass:
    """One way through the tables."""

    def __init__(self, rows: Rows, stop: threading.Event, *, dry_run: bool, on_progress: Progress) -> None:
        self._rows = rows
        self._stop = stop
        self._dry_run = dry_run
        self._on_progress = on_progress

    def older(self, name: str, before: datetime) -> Pruned:
        """Prune what is older; that it may be missing is noted first."""
        if not self._dry_run:
            self._rows.note(name, before)
        return Pruned(name, self._walk(name, {"before": before}), before)

    def all(self, name: str, given: Mapping[str, object]) -> Pruned:
        """Prune what is needed no more."""
        return Pruned(name, self._walk(name, given), None)

    def _walk(self, name: str, given: Mapping[str, object]) -> int:
        work = self._rows.count if self._dry_run else self._rows.prune
        total, found = self._rows.pages(name), 0
        for first in range(0, total, CHUNK_PAGES):
            if self._stop.is_set():
                break
            began = time.monotonic()
            found += work(name, range(first, first + CHUNK_PAGES), given)
            self._on_progress(name, min(first + CHUNK_PAGES, total), total)
            self._stop.wait(min(time.monotonic() - began, _MAX_REST_S))
        return found
