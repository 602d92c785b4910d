"""Go through what is parked: in which order, and how far.

Guards the order of a queue: nothing passes a command that must go on waiting except the `CreateBatch`
that it may wait for, and nothing at all passes a poisoned one. A long queue is gone through in several
transactions; between two of them whatever comes for it stands behind the rest.
"""

from __future__ import annotations

import contextlib
import enum
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from allocation.domain import commands
from allocation.service_layer import failures, messages, outcomes, ports, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from datetime import datetime


class Culprit(NamedTuple):
    """Where the command lies that fails."""

    log: messages.LogPartition
    offset: int


class Failed(Exception):
    """A parked command failed unexpectedly; the unit of work must be given up and begun anew."""

    def __init__(self, parked: unit_of_work.ParkedCommand, failure: failures.Failure) -> None:
        super().__init__(failure.error)
        self.parked = parked
        self.failure = failure

    @property
    def culprit(self) -> Culprit:
        """The command that failed, and no other."""
        return culprit(self.parked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How far to go.

    With `expired_at`, a command that would wait although its grace ended by then is refused. `claimed` are
    the ids of those that were claimed themselves, so that the reference of a parked `CreateBatch` is locked;
    others stay where they are. `retried` is the poisoned one to try again. `failed` are those that are known
    to fail: each is poisoned instead of tried.
    """

    expired_at: datetime | None = None
    claimed: Collection[int | None] = frozenset()
    retried: int | None = None
    failed: Mapping[Culprit, failures.Failure] = field(default_factory=dict)


class Desk(Protocol):
    """Does what is decided here."""

    def handle(self, message: messages.Message) -> outcomes.Handled | outcomes.Waiting | outcomes.Refused:
        """Try a command, and publish what comes of it."""

    def end_waiting(
        self, parked: unit_of_work.ParkedCommand, outcome: outcomes.Handled | outcomes.Refused, *, word: str
    ) -> None:
        """Take a parked command out, and write down how its waiting ended."""

    def keep_waiting(self, parked: unit_of_work.ParkedCommand, outcome: outcomes.Waiting) -> None:
        """Leave a parked command where it is, and write down what it waits for."""

    def poison(self, parked: unit_of_work.ParkedCommand, failure: failures.Failure) -> None:
        """Leave a parked command where it is, until an operator decides, and write down how it fails."""


class _Stop(enum.Enum):
    """Why a queue is not gone through any further."""

    WAITS = "one of its commands must go on waiting"
    FAILS = "one of its commands is poisoned"
    LATER = "the rest of it comes in another transaction"


class Draining:
    """One way through some queues; afterwards it can be asked how far it came."""

    def __init__(self, uow: unit_of_work.MessageUnitOfWork, desk: Desk, terms: Terms) -> None:
        self._uow = uow
        self._desk = desk
        self._terms = terms
        self._stops: dict[str, _Stop] = {}
        self._ended_in: Counter[str] = Counter()
        self._changed: list[unit_of_work.ParkedCommand] = []
        self.counts: Counter[str] = Counter()
        self.unfinished: frozenset[str] = frozenset()
        """The queues that can be gone through further, in another transaction."""
        self.retried_waits = False
        """Whether the poisoned one works again, but is ahead of its batch."""

    @property
    def ended(self) -> int:
        """How many wait no more."""
        return self.counts.total()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Turn an error that comes when all is written into `Failed`, if it can be the fault of one command alone."""
        try:
            yield
        except ports.Retryable:
            raise
        except Exception as error:
            if len(self._changed) != 1 or culprit(self._changed[0]) in self._terms.failed:
                raise
            raise Failed(self._changed[0], failures.of(error)) from error

    def run(self, queues: Collection[str]) -> None:
        """Handle what is parked in these queues, oldest first, until one must stay; raises `Failed`."""
        for parked in self._uow.parked(queues):
            found = self._look_at(parked, self._stops.get(parked.queue))
            if found is not None:
                self._stops[parked.queue] = found
        self.unfinished = frozenset(queue for queue in queues if self._is_unfinished(queue))

    def _is_unfinished(self, queue: str) -> bool:
        stop = self._stops.get(queue)
        return stop is _Stop.LATER or (stop is None and self._uow.has_more(queue))

    def _look_at(self, parked: unit_of_work.ParkedCommand, stop: _Stop | None) -> _Stop | None:
        if stop is None or (stop is _Stop.WAITS and _creates(parked)):
            return self._go_on(parked, is_first=stop is None)
        # It cannot be tried, also when it was to be, and so nothing may pass it, not even a batch.
        return _Stop.FAILS if stop is _Stop.WAITS and parked.state == "poisoned" else None

    def _go_on(self, parked: unit_of_work.ParkedCommand, *, is_first: bool) -> _Stop | None:
        """Try the next of a queue; `is_first` unless another waits before it."""
        is_poisoned = parked.state == "poisoned"
        if self._uow.has_more(parked.queue) and self._may_be_behind_that(parked, is_first=is_first):
            return _Stop.LATER
        if is_poisoned and (parked.id is None or parked.id != self._terms.retried):
            return _Stop.FAILS
        failure = self._terms.failed.get(culprit(parked))
        if failure is not None:
            self._desk.poison(parked, failure)
            self._changed.append(parked)
            return _Stop.FAILS
        if _creates(parked) and parked.id not in self._terms.claimed:
            return _Stop.LATER
        return self._try(parked)

    def _may_be_behind_that(self, parked: unit_of_work.ParkedCommand, *, is_first: bool) -> bool:
        """Tell whether what is not loaded may stand before it: it was added just now, or was sought out."""
        is_sought = parked.state == "poisoned" or _creates(parked)
        return parked.id is None or (is_first and is_sought and self._ended_in[parked.queue] > 0)

    def _try(self, parked: unit_of_work.ParkedCommand) -> _Stop | None:
        outcome = self._handle(parked)
        word = "released"
        if isinstance(outcome, outcomes.Waiting):
            if not self._has_expired(parked):
                self._keep_waiting(parked, outcome)
                return _Stop.WAITS
            outcome = outcomes.Refused(outcome.reason, outcome.error, outcome.error_class)
        if self._terms.expired_at is not None and isinstance(outcome, outcomes.Refused):
            word = "expired"
        self._desk.end_waiting(parked, outcome, word=word)
        self._changed.append(parked)
        is_handled = isinstance(outcome, outcomes.Handled)
        self.counts["handled" if is_handled else "refused"] += 1
        self._ended_in[parked.queue] += 1
        return _Stop.LATER if is_handled and _creates(parked) else None  # what waited for it comes first

    def _keep_waiting(self, parked: unit_of_work.ParkedCommand, outcome: outcomes.Waiting) -> None:
        """Have it say what it waits for itself; one that has said so is left as it is."""
        self.retried_waits = self.retried_waits or parked.state == "poisoned"
        if parked.state != "waiting":
            self._desk.keep_waiting(parked, outcome)

    def _handle(self, parked: unit_of_work.ParkedCommand) -> outcomes.Handled | outcomes.Waiting | outcomes.Refused:
        try:
            return self._desk.handle(parked.message)
        except ports.Retryable:
            raise
        except Exception as error:
            raise Failed(parked, failures.of(error)) from error

    def _has_expired(self, parked: unit_of_work.ParkedCommand) -> bool:
        at = self._terms.expired_at
        return at is not None and parked.expires_at is not None and parked.expires_at <= at


def culprit(parked: unit_of_work.ParkedCommand) -> Culprit:
    """Return by what a parked command is known, stored or not."""
    return Culprit(parked.message.record.log, parked.message.record.offset)


def _creates(parked: unit_of_work.ParkedCommand) -> bool:
    return isinstance(parked.message.command, commands.CreateBatch)
