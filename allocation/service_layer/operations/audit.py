"""What an operator changes, and that it was changed: in one transaction.

Nothing here is done without its row in the audit: who, when, what and why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from allocation.service_layer import unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from allocation.service_layer import messages
    from allocation.service_layer.operations import dead_letters


@dataclass(frozen=True, slots=True)
class Note:
    """Who changes something, and why."""

    who: str
    why: str


class Entry(NamedTuple):
    """One row of the audit; the database adds the time."""

    what: str
    subject: str
    note: Note


class OperatorUnitOfWork(unit_of_work.MessageUnitOfWork, Protocol):
    """A unit of work with what only an operator does; locks, conflicts and `commit` are those of the worker's."""

    def write_audit(self, entries: Iterable[Entry]) -> None:
        """Write rows of the audit."""

    def decide(
        self, topic_id: str, places: Collection[dead_letters.Place], *, decision: str, note: Note
    ) -> Collection[dead_letters.Place]:
        """Write what becomes of these dead letters; return those of which it is new.

        A redriven one stays so, a discarded one may still be redriven. Waits for who decides the same at once.
        """

    def forget(self, logs: Collection[messages.LogPartition]) -> None:
        """Delete the positions of logs that are no more."""
