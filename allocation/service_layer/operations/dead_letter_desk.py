"""Find dead letters, and decide on them: redrive or discard.

A redrive goes through the outbox: the message, the decision and the row of the audit are one transaction,
so that no crash can separate them, and the relay sends the message once. Even if it were there twice
(after a database was restored, say), its attempt would have the same number, and the inbox knows it.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, TypeVar

from allocation.service_layer.operations import audit, conflicts, dead_letters

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from allocation.service_layer import messages

_Item = TypeVar("_Item")

CHUNK = 200  # dead letters in memory and in one transaction; the largest possible ones are 200 MB then
_ATTEMPTS = 5  # another operator on the same letters is done within one or two


class Log(Protocol):
    """The dead-letter topic."""

    def read(self, places: Collection[dead_letters.Place] = ()) -> Iterator[messages.Record]:
        """Yield the records, each partition in its order; with `places`, those there, as far as they exist."""


class Decisions(Protocol):
    """What was decided before."""

    def of(
        self, topic_id: str, places: Collection[dead_letters.Place]
    ) -> Mapping[dead_letters.Place, dead_letters.Decision]:
        """Return what was decided on these; the others are open."""


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter, and what was decided on it, None while it is open."""

    letter: dead_letters.DeadLetter
    decision: dead_letters.Decision | None

    @property
    def age_order(self) -> tuple[object, ...]:
        """The oldest first."""
        return (self.letter.time, self.letter.place)


@dataclass(frozen=True, slots=True)
class Done:
    """It is decided now."""

    letter: dead_letters.DeadLetter


@dataclass(frozen=True, slots=True)
class Already:
    """It was decided on before, and stays as it is."""

    letter: dead_letters.DeadLetter
    decision: dead_letters.Decision | None


@dataclass(frozen=True, slots=True)
class Impossible:
    """It cannot be redriven as it is; `error` says why, and what to do."""

    letter: dead_letters.DeadLetter
    error: str


Result = Done | Already | Impossible


class DeadLetterDesk:
    """Works on the dead letters of one installation, whatever else is running; every method blocks."""

    def __init__(
        self,
        *,
        log: Log,
        decisions: Decisions,
        begin: Callable[[], audit.OperatorUnitOfWork],
        command_topics: Collection[str],
    ) -> None:
        self._log = log
        self._decisions = decisions
        self._begin = begin
        self._command_topics = command_topics

    def find(self, wanted: dead_letters.Filter) -> Iterator[Found]:
        """Yield the dead letters that are meant, each partition in its order, in constant memory."""
        letters = map(dead_letters.read, self._log.read(wanted.places))
        for chunk in _chunks(filter(wanted.matches, letters)):
            places = [letter.place for letter in chunk]
            decided = self._decisions.of(chunk[0].record.topic_id, places)
            yield from (Found(letter, decided.get(letter.place)) for letter in chunk)

    def redrive(self, found: Iterable[Found], note: audit.Note, *, dry_run: bool = False) -> Iterator[Result]:
        """Send dead letters back to their topics, as their next attempt."""
        for chunk in _chunks(found):
            outgoing: dict[dead_letters.Place, messages.OutboxMessage] = {}
            possible = []
            for one in chunk:
                try:
                    outgoing[one.letter.place] = self._redriven(one.letter)
                    possible.append(one)
                except dead_letters.CannotRedrive as error:
                    yield Impossible(one.letter, str(error))
            yield from self._decide(possible, "redriven", note, outgoing=outgoing, dry_run=dry_run)

    def discard(self, found: Iterable[Found], note: audit.Note, *, dry_run: bool = False) -> Iterator[Result]:
        """Note that nothing is to be done about dead letters; they stay on their topic."""
        for chunk in _chunks(found):
            yield from self._decide(chunk, "discarded", note, outgoing={}, dry_run=dry_run)

    def _redriven(self, letter: dead_letters.DeadLetter) -> messages.OutboxMessage:
        return dead_letters.redriven(letter, command_topics=self._command_topics)

    def _decide(
        self,
        found: Sequence[Found],
        decision: str,
        note: audit.Note,
        *,
        outgoing: Mapping[dead_letters.Place, messages.OutboxMessage],
        dry_run: bool,
    ) -> Iterator[Result]:
        if not found:
            return
        letters = [one.letter for one in found]
        if dry_run:
            new: Collection[dead_letters.Place] = {
                one.letter.place for one in found if one.decision is None or one.decision.may_become(decision)
            }
        else:
            new = self._commit(letters, decision, note, outgoing)
        before = self._before(letters, new)
        for letter in letters:
            yield Done(letter) if letter.place in new else Already(letter, before.get(letter.place))

    def _before(
        self, letters: Sequence[dead_letters.DeadLetter], new: Collection[dead_letters.Place]
    ) -> Mapping[dead_letters.Place, dead_letters.Decision]:
        old = [letter.place for letter in letters if letter.place not in new]
        return self._decisions.of(letters[0].record.topic_id, old) if old else {}

    @conflicts.retried(attempts=_ATTEMPTS)
    def _commit(
        self,
        letters: Sequence[dead_letters.DeadLetter],
        decision: str,
        note: audit.Note,
        outgoing: Mapping[dead_letters.Place, messages.OutboxMessage],
    ) -> Collection[dead_letters.Place]:
        places = [letter.place for letter in letters]
        with self._begin() as uow:
            new = uow.decide(letters[0].record.topic_id, places, decision=decision, note=note)
            uow.write_audit(
                audit.Entry(f"dlq.{decision}", f"{letter.record.topic}/{letter.place} of {letter.origin}", note)
                for letter in letters
                if letter.place in new
            )
            for place in places:
                if place in new and place in outgoing:
                    uow.send(outgoing[place])
            uow.commit()
        return new


def choose(found: Iterable[Found], *, limit: int | None) -> Iterable[Found]:
    """Return the oldest ones up to the limit, each partition in its order; without a limit all, as they come."""
    if limit is None:
        return found
    oldest = heapq.nsmallest(limit, found, key=attrgetter("age_order"))
    return sorted(oldest, key=attrgetter("letter.place"))


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    iterator = iter(items)
    while chunk := list(itertools.islice(iterator, CHUNK)):
        yield chunk
