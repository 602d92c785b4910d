"""Decide what becomes of each message of a micro-batch, and write it down.

Guards three things: a message is handled, refused, parked or known already, never two of these;
its events carry an identity that follows from it; commands of one sku keep their order, also behind
one that waits.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

from allocation.domain import commands, refusal
from allocation.service_layer import (
    draining,
    envelopes,
    failures,
    handlers,
    journaling,
    messagebus,
    messages,
    outcomes,
    refusals,
    unit_of_work,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import timedelta

    from allocation.service_layer import external_events

_JOURNAL_WORDS: dict[type, str] = {
    outcomes.Handled: "handled",
    outcomes.Duplicate: "duplicate",
    outcomes.Refused: "refused",
    outcomes.Waiting: "waited",
    outcomes.Queued: "queued",
    outcomes.Poisoned: "poisoned",
}
MANY_FAILED = 5  # each costs the whole micro-batch another attempt; a release of its own goes through fewer at a time
_WORDS_FROM_LOGS = frozenset(_JOURNAL_WORDS.values())


class MicroBatch:
    """The messages that share one unit of work; lives as long as that.

    `failed` are parked commands that failed when this was tried before.
    """

    def __init__(
        self,
        uow: unit_of_work.MessageUnitOfWork,
        *,
        envelopes: envelopes.Envelopes,
        grace: timedelta,
        failed: Mapping[draining.Culprit, failures.Failure] = MappingProxyType({}),
    ) -> None:
        self._uow = uow
        self._bus = messagebus.MessageBus(uow)
        self._envelopes = envelopes
        self._grace = grace
        self._failed = failed
        self._runs = journaling.Runs()
        self.refusals: list[refusals.Refusal] = []
        self.poisoned: list[failures.Poisoned] = []
        self.announced: dict[type, list[external_events.ExternalEvent]] = defaultdict(list)
        """The events that were published, by the type of the command that caused them."""

    def settle(self, message: messages.Message) -> outcomes.Outcome:
        """Take a message from its log: handle it, or say what else becomes of it; raises `draining.Failed`."""
        outcome = self._decide(message)
        self._write(message, outcome)
        self._note(_JOURNAL_WORDS[type(outcome)], message.record)
        if isinstance(outcome, outcomes.Handled) and isinstance(message.command, commands.CreateBatch):
            self._release(message.command)
        return outcome

    def set_aside(self, message: messages.Message, failure: failures.Failure) -> None:
        """Park a message that fails unexpectedly; one that holds no command goes to the dead letters."""
        outcome: outcomes.Outcome | None = self._recognise(message)
        if outcome is None:
            is_readable = not isinstance(message.command, messages.Unreadable)
            outcome = outcomes.Poisoned(*failure) if is_readable else outcomes.Refused("failed", *failure)
        self._write(message, outcome)
        self._note(_JOURNAL_WORDS[type(outcome)], message.record)

    def discard(self, parked: unit_of_work.ParkedCommand, *, why: str) -> None:
        """Put a parked command into the dead letters instead of trying it again."""
        self.end_waiting(parked, outcomes.Refused("discarded", why, "Discarded", parked.stack), word="discarded")

    def go_through(self, queues: Collection[str], terms: draining.Terms) -> draining.Draining:
        """Handle what is parked in these queues, as far as these terms allow, and note where it can be gone on.

        Returns how far it came; raises `draining.Failed`.
        """
        way = draining.Draining(self._uow, self, terms)
        way.run(queues)
        self._uow.release_later(way.unfinished)
        return way

    def keep_waiting(self, parked: unit_of_work.ParkedCommand, outcome: outcomes.Waiting) -> None:
        """Write down what a parked command waits for itself, now that it was its turn.

        Its grace is that from when it came; one that was poisoned has a new one.
        """
        reason, error = outcome.reason, outcome.error
        self._uow.repark(
            dataclasses.replace(
                parked,
                state="waiting",
                reason=reason,
                error=error,
                error_class="",
                stack="",
                expires_at=parked.expires_at or self._uow.now + self._grace,
            )
        )
        self._uow.record(_entry(parked.message, "waiting", reason=reason, error=error))

    def poison(self, parked: unit_of_work.ParkedCommand, failure: failures.Failure) -> None:
        """Leave a parked command where it is, until an operator decides, and write down how it fails."""
        self._uow.repark(
            dataclasses.replace(parked, state="poisoned", reason="failed", expires_at=None, **failure._asdict())
        )
        self._uow.record(_entry(parked.message, "waiting", reason="failed", error=failure.error))
        self._runs.count("poisoned", parked.message.record)
        self.poisoned.append(failures.Poisoned(parked.message, failure))

    def handle(self, message: messages.Message) -> outcomes.Handled | outcomes.Waiting | outcomes.Refused:
        """Try a command, and publish what comes of it; what was refused, or waits, has changed nothing."""
        assert not isinstance(message.command, messages.Unreadable)  # noqa: S101 - for the type checker
        try:
            result = self._bus.handle(message.command)
        except handlers.NotYetKnown as no:
            kind = outcomes.Waiting if message.waits and self._grace else outcomes.Refused
            return kind(no.reason, str(no), type(no).__name__)
        except refusal.Refusal as no:
            return outcomes.Refused(no.reason, str(no), type(no).__name__)
        if isinstance(message.command, commands.CreateBatch):
            self._join_queues(message.command)
        self._publish(message)
        return outcomes.Handled(result)

    def end_waiting(
        self, parked: unit_of_work.ParkedCommand, outcome: outcomes.Handled | outcomes.Refused, *, word: str
    ) -> None:
        """Take a parked command out, and write down what became of it; `word` is the journal's."""
        self._uow.unpark(parked)
        self._write(parked.message, outcome)
        self._note(word, parked.message.record)

    @property
    def fates(self) -> Mapping[journaling.Fate, int]:
        """How many messages of each topic became what."""
        return self._runs.counted()

    def finish(self) -> None:
        """Write the journal; nothing may be settled after."""
        runs = self._runs.taken()
        if runs:
            self._uow.journal(runs, oldest_ms=self._runs.since_ms)

    def _decide(self, message: messages.Message) -> outcomes.Outcome:
        recognised = self._recognise(message)
        if recognised is not None:
            return recognised
        if isinstance(message.command, messages.Unreadable):
            return outcomes.Refused(message.command.reason, message.command.error, "Unreadable")
        if self._must_queue(message.command):
            return outcomes.Queued()
        return self.handle(message)

    def _recognise(self, message: messages.Message) -> outcomes.Duplicate | outcomes.Refused | None:
        """Return what becomes of a message whose identity was seen before; what is known of that one stays."""
        known = self._uow.inbox_entry(message.id)
        if known is None:
            return None
        if known.digest != message.digest:
            return outcomes.Refused("id_reused", _id_reused(message, known), "IdReused")
        return outcomes.Duplicate() if message.attempt <= known.attempt or known.outcome == "waiting" else None

    def _must_queue(self, command: commands.Command) -> bool:
        queue = self._queue(command)
        if isinstance(command, commands.CreateBatch):  # what others wait for must pass them
            return self._uow.bars_batches(queue)
        return self._uow.is_occupied(queue)

    def _join_queues(self, created: commands.CreateBatch) -> None:
        """Put what waited for a reference, its sku unknown, where everything for that sku stands from now on."""
        self._uow.move_queue(unit_of_work.ref_queue(created.ref), to=unit_of_work.sku_queue(created.sku))
        self._uow.release_later(self._uow.queues_naming(created.ref))

    def _release(self, created: commands.CreateBatch) -> None:
        """Release the first of those that waited for a batch; when there are more, or many fail, the others follow."""
        queues = {unit_of_work.sku_queue(created.sku), *self._uow.queues_naming(created.ref)}
        if len(self._failed) < MANY_FAILED:
            self.go_through(queues, draining.Terms(failed=self._failed))
        else:
            self._uow.release_later({queue for queue in queues if self._uow.is_occupied(queue)})

    def _queue(self, command: commands.Command) -> str:
        if not isinstance(command, commands.ChangeBatchQuantity):
            return unit_of_work.sku_queue(command.sku)
        product = self._uow.products.get_by_batchref(command.ref)
        sku = command.sku if product is None else product.sku
        return unit_of_work.ref_queue(command.ref) if sku is None else unit_of_work.sku_queue(sku)

    def _publish(self, message: messages.Message) -> None:
        announced = self._uow.take_announced()
        if not announced:
            return
        cause = envelopes.Cause(message, self._uow.now)
        for ordinal, event in enumerate(announced):
            sequence = self._uow.next_sequence(event.sku)
            self._uow.send(self._envelopes.event(event, cause=cause, ordinal=ordinal, sequence=sequence))
        self.announced[type(message.command)].extend(announced)

    def _write(self, message: messages.Message, outcome: outcomes.Outcome) -> None:
        match outcome:
            case outcomes.Handled(result):
                self._uow.record(_entry(message, "handled", result))
            case outcomes.Refused(reason, error, error_class, stack):
                self.refusals.append(refusals.Refusal(message, reason, error))
                if reason != "id_reused":  # the entry belongs to the message that had the id first
                    self._uow.record(_entry(message, "refused", reason=reason, error=error))
                self._uow.send(
                    self._envelopes.dead_letter(
                        message,
                        reason=reason,
                        error=error,
                        error_class=error_class,
                        stack=stack,
                        time=self._uow.now,
                    )
                )
            case outcomes.Waiting(reason, error):
                self._park(message, "waiting", reason, error)
            case outcomes.Queued():
                self._park(message, "queued", "queued", "keeps its place behind a parked command")
            case outcomes.Poisoned(error, error_class, stack):
                self._park(message, "poisoned", "failed", error, error_class, stack)
                self.poisoned.append(failures.Poisoned(message, failures.Failure(error, error_class, stack)))
            case outcomes.Duplicate():
                pass
            case _:
                assert_never(outcome)

    def _park(
        self, message: messages.Message, state: str, reason: str, error: str, error_class: str = "", stack: str = ""
    ) -> None:
        assert not isinstance(message.command, messages.Unreadable)  # noqa: S101 - for the type checker
        self._uow.park(
            unit_of_work.ParkedCommand(
                queue=self._queue(message.command),
                state=state,
                message=message,
                reason=reason,
                error=error,
                expires_at=None if state == "poisoned" else self._uow.now + self._grace,
                error_class=error_class,
                stack=stack,
            )
        )
        self._uow.record(_entry(message, "waiting", reason=reason, error=error))

    def _note(self, what: str, record: messages.Record) -> None:
        self._runs.note(what, record, is_from_log=what in _WORDS_FROM_LOGS)


def _entry(
    message: messages.Message,
    outcome: str,
    result: str | None = None,
    *,
    reason: str | None = None,
    error: str | None = None,
) -> unit_of_work.InboxEntry:
    record = message.record
    return unit_of_work.InboxEntry(
        message.id, message.attempt, message.digest, outcome, record.topic, record.partition, record.offset,
        result, reason, error,
    )  # fmt: skip


def _id_reused(message: messages.Message, known: unit_of_work.InboxEntry) -> str:
    return (
        f"the id {message.id.id} of {message.id.source or 'an unnamed source'} belongs to another command, "
        f"at {known.topic}/{known.partition}/{known.offset}; send this one anew with an id of its own"
    )
