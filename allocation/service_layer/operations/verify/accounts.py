"""Call every command to account: the record, the journal, the inbox, what is parked and the dead letters.

Whatever says what became of a command must say the same, and something must say it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from allocation.service_layer import messages
from allocation.service_layer.operations.replay import skipping
from allocation.service_layer.operations.verify import dead_letters, snapshot
from allocation.service_layer.operations.verify.findings import Check, Findings

if TYPE_CHECKING:
    from allocation.domain import commands
    from allocation.service_layer import reading
    from allocation.service_layer.operations.verify import journal as journals

_WAITING = frozenset({"waited", "queued", "poisoned"})


class HandledCommand(NamedTuple):
    """A command that had its effect, when by the journal, and what came of it as far as the inbox still knows."""

    order: tuple[journals.Order, int]
    at: snapshot.Coordinates
    id: str
    command: commands.Command
    result: str | None
    is_result_known: bool


class Accounts:
    """Takes the records below the positions, each log in its order."""

    def __init__(
        self,
        *,
        database: snapshot.Snapshot,
        journal: journals.Journal,
        letters: dead_letters.DeadLetters,
        reader: reading.MessageReader,
        findings: Findings,
    ) -> None:
        self._inbox = database.inbox
        self._forgotten_before = database.pruned.get("inbox")
        self._parked = dict(database.parked)
        self._unclaimed = set(database.inbox)
        self._journal = journal
        self._letters = letters
        self._reader = reader
        self._findings = findings
        self.handled: list[HandledCommand] = []

    def add(self, record: messages.Record) -> None:
        """Take the next record; blocks while a schema must be looked up."""
        message = self._reader.read(record)
        at = snapshot.Coordinates(record.topic, record.partition, record.offset)
        outcome = self._inbox.get(message.id)
        if outcome is not None and outcome.at == at:
            self._unclaimed.discard(message.id)
        self._findings.compared[Check.COMMANDS] += 1
        for problem in self._problems(message, at, outcome):
            self._findings.add(Check.COMMANDS, at, f"command {message.id.id}: {problem}")

    def finish(self) -> None:
        """See that nothing is said about commands that are not there."""
        for id_ in self._unclaimed:
            outcome = self._inbox[id_]
            text = f"command {id_.id} is {outcome.outcome} in the inbox, but no such command is there"
            self._findings.add(Check.COMMANDS, outcome.at, text)
        for at in self._parked:
            self._findings.add(Check.COMMANDS, at, "is parked, but no command is there")

    def _problems(
        self, message: messages.Message, at: snapshot.Coordinates, outcome: snapshot.Outcome | None
    ) -> list[str]:
        first, end = self._journal.fate(at)
        letter = self._letters.take(at)
        if first is None:
            return ["was passed over: the journal does not name it", *_both(letter)]
        if first.what == skipping.SKIPPED:
            return [*_of_skipped(at, outcome), *_both(letter)]
        is_parked = self._parked.pop(at, None) is not None
        if first.what == "duplicate":
            return [*self._of_duplicate(message, at, outcome), *_both(letter)]
        if first.what not in _WAITING:
            end = None
        elif is_parked or end is None:
            return _of_waiting(message, outcome, is_parked=is_parked, is_ended=end is not None, letter=letter)
        problems = ["it is parked, though it was " + first.what] if is_parked else []
        if first.what == "refused" or (end is not None and _ended_badly(end.what, at, outcome, letter)):
            return problems + self._of_refused(message, at, outcome, letter, when=end or first)
        if letter is not None:
            problems += [f"it was handled, and is a dead letter as well, at {letter.place}"]
        return problems + self._of_handled(message, at, outcome, when=end or first)

    def _of_handled(
        self,
        message: messages.Message,
        at: snapshot.Coordinates,
        outcome: snapshot.Outcome | None,
        *,
        when: journals.Run,
    ) -> list[str]:
        if isinstance(message.command, messages.Unreadable):
            return [f"was handled, though it cannot be: {message.command.error}"]
        is_own = outcome is not None and outcome.at == at
        result = outcome.result if outcome is not None and is_own else None
        self.handled.append(
            HandledCommand((when.order, at.offset), at, message.id.id, message.command, result, is_result_known=is_own)
        )
        return self._of_outcome(message, at, outcome, expected="handled", when=when)

    def _of_refused(
        self,
        message: messages.Message,
        at: snapshot.Coordinates,
        outcome: snapshot.Outcome | None,
        letter: dead_letters.DeadLetter | None,
        *,
        when: journals.Run,
    ) -> list[str]:
        if letter is None:
            return ["was refused, but is no dead letter"]
        self._findings.compared[Check.DEAD_LETTERS] += 1
        for problem in _differences(message, letter):
            self._findings.add(Check.DEAD_LETTERS, letter.place, f"is of {at}: {problem}")
        if letter.reason == "id_reused":
            is_strange = outcome is None and self._forgotten_before is None
            return ["was refused for its id, which nobody else has"] if is_strange else []
        return self._of_outcome(message, at, outcome, expected="refused", when=when)

    def _of_duplicate(
        self, message: messages.Message, at: snapshot.Coordinates, outcome: snapshot.Outcome | None
    ) -> list[str]:
        if self._forgotten_before is not None and (outcome is None or outcome.at != at):
            return []  # the first one may be forgotten by now, and another have been the first since
        if outcome is None or outcome.at == at:
            return ["is called a duplicate, but no other command has its id"]
        if outcome.digest != message.digest:
            return [f"is called a duplicate, but says something else than {outcome.at}"]
        return []

    def _of_outcome(
        self,
        message: messages.Message,
        at: snapshot.Coordinates,
        outcome: snapshot.Outcome | None,
        *,
        expected: str,
        when: journals.Run,
    ) -> list[str]:
        is_old = self._forgotten_before is not None and when.handled_at < self._forgotten_before
        if is_old and (outcome is None or outcome.at != at):
            return []
        return _of_outcome(message, at, outcome, expected=expected)


def _ended_badly(
    word: str, at: snapshot.Coordinates, outcome: snapshot.Outcome | None, letter: dead_letters.DeadLetter | None
) -> bool:
    """Tell whether a command was refused after it had waited; one that was released may have been either."""
    says_so = outcome is not None and outcome.at == at and outcome.outcome == "refused"
    return word != "released" or letter is not None or says_so


def _both(letter: dead_letters.DeadLetter | None) -> list[str]:
    return [] if letter is None else [f"it is a dead letter, at {letter.place}"]


def _of_skipped(at: snapshot.Coordinates, outcome: snapshot.Outcome | None) -> list[str]:
    if outcome is not None and outcome.at == at:
        return [f"was skipped, but the inbox says {outcome.outcome}"]
    return []


def _of_waiting(
    message: messages.Message,
    outcome: snapshot.Outcome | None,
    *,
    is_parked: bool,
    is_ended: bool,
    letter: dead_letters.DeadLetter | None,
) -> list[str]:
    problems = []
    if not is_parked:
        problems.append("was parked, but is so no more, and nothing says how that ended")
    if is_ended:
        problems.append("is parked, though the journal says that its waiting has ended")
    if letter is not None and letter.is_unsent:  # one on the topic may be newer than the snapshot
        problems.append("is parked, and is a dead letter as well")
    if outcome is None or (outcome.outcome != "waiting" and outcome.attempt <= message.attempt):
        problems.append(f"is parked, and {outcome.outcome if outcome else 'not there'} in the inbox")
    return problems


def _of_outcome(
    message: messages.Message, at: snapshot.Coordinates, outcome: snapshot.Outcome | None, *, expected: str
) -> list[str]:
    """Compare with the inbox, which keeps of each command the latest attempt."""
    if outcome is None:
        return [f"was {expected}, but the inbox does not know it"]
    if outcome.digest != message.digest:
        return [f"was {expected}, but the inbox has another content for its id, at {outcome.at}"]
    if outcome.attempt > message.attempt:
        return []
    if outcome.at != at:
        return [f"was {expected}, and so was {outcome.at}, which has the same id"]
    if outcome.outcome != expected:
        return [f"was {expected}, but the inbox says {outcome.outcome}"]
    return []


def _differences(message: messages.Message, letter: dead_letters.DeadLetter) -> list[str]:
    record = message.record
    problems = []
    if (letter.key, letter.value) != (record.key, record.value):
        problems.append("its key or value is not that of the command")
    if letter.headers != dead_letters.original_headers(record.headers):
        problems.append("its headers are not those of the command")
    if letter.attempt != message.attempt:
        problems.append(f"it says attempt {letter.attempt}, the command is attempt {message.attempt}")
    return problems
