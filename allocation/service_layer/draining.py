"""Go through what is parked: in which order, and how far.

Guards the order of a queue: nothing passes a command that must go on waiting except the `CreateBatch`
that it may wait for, and nothing at all passes a poisoned one.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from allocation.domain import commands
from allocation.service_layer import messages, outcomes, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How far to go.

    With `expired_at`, a command that would wait although its grace ended by then is refused. `claimed` are
    the ids of those that were claimed themselves, so that the reference of a parked `CreateBatch` is locked;
    others stay where they are. `retried` is the poisoned one to try again. `limit` ends the work on the queues
    that were asked for, but not on those that wait for a batch that was created: what comes later for that
    batch would pass them.
    """

    expired_at: datetime | None = None
    claimed: Collection[int | None] = frozenset()
    retried: int | None = None
    limit: float = math.inf


AS_THEY_COME = Terms()


class Desk(Protocol):
    """Does what is decided here."""

    def handle(self, message: messages.Message) -> outcomes.Handled | outcomes.Waiting | outcomes.Refused:
        """Try a command, and publish what comes of it."""

    def end_waiting(
        self, parked: unit_of_work.ParkedCommand, outcome: outcomes.Handled | outcomes.Refused, *, word: str
    ) -> None:
        """Take a parked command out, and write down how its waiting ended."""


class Draining:
    """One way through some queues; afterwards it can be asked how far it came, also when a command has failed."""

    def __init__(self, uow: unit_of_work.MessageUnitOfWork, desk: Desk, terms: Terms) -> None:
        self._uow = uow
        self._desk = desk
        self._terms = terms
        self._asked_for: frozenset[str] = frozenset()
        self.counts: Counter[str] = Counter()
        self.trying: unit_of_work.ParkedCommand | None = None
        """The command in hand: the one that failed, if one has."""
        self.retried_waits: outcomes.Waiting | None = None
        """What the poisoned one waits for, if it works again but is ahead of its batch."""

    @property
    def ended(self) -> int:
        """How many wait no more."""
        return self.counts.total()

    def run(self, queues: Collection[str]) -> None:
        """Handle what is parked in these queues, oldest first, until one must go on waiting."""
        self._asked_for = frozenset(queues)
        opened = set(queues)
        created = self._go_through(opened)
        while created is not None:
            opened |= released_by(created, self._uow)
            created = self._go_through(opened)
        self.trying = None

    def _go_through(self, queues: Collection[str]) -> commands.CreateBatch | None:
        """Stop at a batch that was created and return its command: what waited for it comes first."""
        waiting: set[str] = set()
        closed: set[str] = set()
        for parked in self._uow.parked(queues):
            command = parked.message.command
            creates = isinstance(command, commands.CreateBatch)
            if parked.queue in closed or (parked.queue in waiting and not creates):
                continue
            if not self._may_try(parked):
                closed.add(parked.queue)
            elif not self._try(parked):
                waiting.add(parked.queue)
            elif isinstance(command, commands.CreateBatch):
                return command
        return None

    def _may_try(self, parked: unit_of_work.ParkedCommand) -> bool:
        if parked.queue in self._asked_for and self.ended >= self._terms.limit:
            return False
        if parked.state == "poisoned" and (parked.id is None or parked.id != self._terms.retried):
            return False
        return not isinstance(parked.message.command, commands.CreateBatch) or parked.id in self._terms.claimed

    def _try(self, parked: unit_of_work.ParkedCommand) -> bool:
        """Return whether its waiting has ended."""
        self.trying = parked
        outcome = self._desk.handle(parked.message)
        word = "released"
        if isinstance(outcome, outcomes.Waiting):
            if not self._has_expired(parked):
                if parked.state == "poisoned":
                    self.retried_waits = outcome
                return False
            outcome = outcomes.Refused(outcome.reason, outcome.error, outcome.error_class)
        if self._terms.expired_at is not None and isinstance(outcome, outcomes.Refused):
            word = "expired"
        self._desk.end_waiting(parked, outcome, word=word)
        self.counts["handled" if isinstance(outcome, outcomes.Handled) else "refused"] += 1
        return True

    def _has_expired(self, parked: unit_of_work.ParkedCommand) -> bool:
        at = self._terms.expired_at
        return at is not None and parked.expires_at is not None and parked.expires_at <= at


def released_by(command: commands.CreateBatch, uow: unit_of_work.MessageUnitOfWork) -> set[str]:
    """Return the queues of those that may have waited for this command."""
    named = uow.queues_naming(command.ref)
    return {unit_of_work.sku_queue(command.sku), unit_of_work.ref_queue(command.ref), *named}
