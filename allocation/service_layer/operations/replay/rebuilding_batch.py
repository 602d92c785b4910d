"""Do again what a row of the journal says, with the worker's own handlers.

The journal decides what depended on timers, on failures, or on what an operator did; the handlers decide
the rest. Where they come to something else than the journal says, nothing of it is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.service_layer import messages, outcomes, settling
from allocation.service_layer.operations.replay import journal_order
from allocation.service_layer.operations.replay import rebuilding_ports as ports

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta

    from allocation.service_layer import envelopes

_THEN = "what it said then is in the log of that worker"


class HandledNow(Exception):
    """A record that was refused goes through now: the worker could not read it then, or another version refused it."""

    def __init__(self, place: ports.Place) -> None:
        super().__init__(f"{place.topic}/{place.partition}/{place.offset} was refused, and would be handled now")
        self.place = place


class ObedientBatch(settling.MicroBatch):
    """The messages of some rows of the journal; `forced` are refused without being tried."""

    def __init__(
        self,
        uow: ports.RebuildUnitOfWork,
        *,
        envelopes: envelopes.Envelopes,
        grace: timedelta,
        forced: Collection[ports.Place],
    ) -> None:
        super().__init__(uow, envelopes=envelopes, grace=grace)
        self._given = uow
        self._forced = forced

    def obey(self, what: str, message: messages.Message) -> None:
        """Settle a message from its log as the journal's word says; raises `HandledNow`, `JournalUnusable`."""
        if what != "skipped":
            self._write(message, self._as_then(what, message))
        self._runs.count(what, message.record)

    def obey_end(self, what: str, place: ports.Place, *, row: int) -> None:
        """End the waiting of what was parked; raises `JournalUnusable` when nothing is, or the word is unknown."""
        parked = self._given.waiting_at(place)
        if parked is None:
            raise journal_order.JournalUnusable(
                f"row {row} of the journal says {what} of {place.topic}/{place.partition}/{place.offset}, which is not "
                "parked: an earlier row is missing, or another version wrote this word"
            )
        if what == "discarded":
            self.discard(parked, why="discarded by an operator")
        elif what in {"released", "expired"}:
            self.end_waiting(parked, _ended(self.handle(parked.message)), word=what)
        else:
            raise journal_order.JournalUnusable(
                f"row {row} of the journal says {what!r} of {place.topic}/{place.partition}/{place.offset}, which is a "
                "word of another version; use that one"
            )

    def _as_then(self, what: str, message: messages.Message) -> outcomes.Outcome:
        match what:
            case "handled" | "waited":
                return self._tried(what, message)
            case "refused":
                return self._refused(message)
            case "queued":
                return outcomes.Queued()
            case "poisoned":
                return outcomes.Poisoned(f"it failed when it was read; {_THEN}")
            case _:
                return outcomes.Duplicate()

    def _tried(self, what: str, message: messages.Message) -> outcomes.Outcome:
        if isinstance(message.command, messages.Unreadable):
            raise _other(what, message, message.command.error)
        outcome = self.handle(message)
        if what == "handled" and isinstance(outcome, outcomes.Handled):
            return outcome
        if what == "waited" and not isinstance(outcome, outcomes.Handled):
            return outcomes.Waiting(outcome.reason, outcome.error, outcome.error_class)
        raise _other(what, message, getattr(outcome, "error", "it is handled now"))

    def _refused(self, message: messages.Message) -> outcomes.Refused:
        place = place_of(message.record)
        if place in self._forced:
            return outcomes.Refused("failed", f"it could not be handled when it was read; {_THEN}", "Unreadable")
        recognised = self._recognise(message)
        if isinstance(recognised, outcomes.Refused):
            return recognised
        if isinstance(message.command, messages.Unreadable):
            return outcomes.Refused(message.command.reason, message.command.error, "Unreadable")
        outcome = self.handle(message)
        if isinstance(outcome, outcomes.Handled):
            raise HandledNow(place)
        return outcomes.Refused(outcome.reason, outcome.error, outcome.error_class)


def _ended(
    outcome: outcomes.Handled | outcomes.Waiting | outcomes.Refused,
) -> outcomes.Handled | outcomes.Refused:
    if isinstance(outcome, outcomes.Waiting):
        return outcomes.Refused(outcome.reason, outcome.error, outcome.error_class)
    return outcome


def _other(what: str, message: messages.Message, now: str) -> journal_order.JournalUnusable:
    record = message.record
    return journal_order.JournalUnusable(
        f"the journal says {what} of {record.topic}/{record.partition}/{record.offset}, but now: {now}. An earlier row "
        "is missing, or another version decided otherwise; rebuild with that version"
    )


def place_of(record: messages.Record) -> ports.Place:
    """Return where a record lies."""
    return ports.Place(record.topic, record.partition, record.offset)
