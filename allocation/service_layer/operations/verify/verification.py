"""Run all comparisons, on a system that goes on working.

The database is read first, at one moment. The topics are read after it, so that what its outbox does
not hold any more is there; what is newer is left out, by the counters of that moment. Nothing is
waited for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from allocation.service_layer.operations.verify import (
    accounts,
    causes,
    dead_letters,
    findings,
    journal,
    lines,
    published,
    repeats,
    sources,
    stock,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from allocation.service_layer import messages, reading, topics
    from allocation.service_layer.operations.verify import events, ports, snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was compared, and what does not agree; `notes` count what is no finding, but good to know."""

    compared: Mapping[findings.Check, int]
    counts: Mapping[findings.Check, int]
    findings: Sequence[findings.Finding]
    notes: Mapping[str, int]

    @property
    def total(self) -> int:
        """How many findings there are, also those whose text is not kept."""
        return sum(self.counts.values())


class _Outgoing(Protocol):
    """Takes in what lies on topics that the relay writes, and then what is still to be sent there."""

    def add(self, record: messages.Record) -> None: ...

    def add_unsent(self, row: snapshot.OutboxRow) -> None: ...


class Verification:
    """May be run any number of times; only reads."""

    def __init__(
        self,
        *,
        database: ports.Database,
        logs: ports.Logs,
        topics: topics.TopicNames,
        messages: reading.MessageReader,
        events: events.EventReader,
    ) -> None:
        self._database = database
        self._logs = logs
        self._topics = topics
        self._messages = messages
        self._events = events

    def run(self, *, keep: int, on_progress: ports.Progress) -> Report:
        """Compare everything; `keep` findings of each kind are told in full.

        Raises `CannotVerify` when a topic has lost records or is not the one that the database knows,
        `DependencyDown` when something does not answer.
        """
        on_progress("database", 0, 1)
        database = self._database.read()
        on_progress("database", 1, 1)
        log = sources.Sources(self._logs, names=self._topics_read(), on_progress=on_progress)
        found = findings.Findings(keep)
        log.check_ends(found)
        positions = log.check_positions(database.positions, found)
        repeated = repeats.Repeats(until=database.repeats_until)
        announced = published.Published(database=database, reader=self._events, repeats=repeated, findings=found)
        letters = dead_letters.DeadLetters(topics=self._topics.commands.values(), repeats=repeated, findings=found)
        pruned = database.pruned.get("journal")
        journal_topic = journal.JournalTopic(database.journal, pruned_before=pruned, repeats=repeated, findings=found)
        _read("events", self._topics.events.values(), announced, log, database)
        _read("dead letters", (self._topics.dead_letter,), letters, log, database)
        _read("journal", (self._topics.journal,), journal_topic, log, database)
        later = self._database.later()
        announced.finish(later.event_sequences)
        journal_topic.finish(later.journal_numbers)
        journal_rows = journal.Journal((*journal_topic.pruned, *database.journal), findings=found)
        handled = self._read_commands(log, database, positions, journal_rows, letters, found)
        letters.finish(database.positions, later.positions)
        _compare(database, announced.by_sku, handled, found)
        return _report(found, database, announced, letters, repeated)

    def _topics_read(self) -> tuple[str, ...]:
        names = self._topics
        return (*names.commands.values(), *names.events.values(), names.dead_letter, names.journal)

    def _read_commands(
        self,
        log: sources.Sources,
        database: snapshot.Snapshot,
        positions: Mapping[ports.TopicPartition, int],
        journal_rows: journal.Journal,
        letters: dead_letters.DeadLetters,
        found: findings.Findings,
    ) -> list[accounts.HandledCommand]:
        called = accounts.Accounts(
            database=database,
            journal=journal_rows,
            letters=letters,
            reader=self._messages,
            findings=found,
        )
        for record in log.read("commands", tuple(self._topics.commands.values()), until=positions):
            called.add(record)
        called.finish()
        return called.handled


def _read(
    what: str, names: Collection[str], outgoing: _Outgoing, log: sources.Sources, database: snapshot.Snapshot
) -> None:
    for record in log.read(what, tuple(names)):
        outgoing.add(record)
    for row in database.outbox:
        if row.topic in names:
            outgoing.add_unsent(row)


def _compare(
    database: snapshot.Snapshot,
    by_sku: Mapping[str, Sequence[events.Event]],
    handled: Sequence[accounts.HandledCommand],
    found: findings.Findings,
) -> None:
    lines.compare(database, lines.replay(by_sku, findings=found), findings=found)
    lines.check_batches(database, findings=found)
    folded = stock.Stock(handled, findings=found)
    folded.compare(database.batches)
    stock.check_versions(database.products, folded.changes, by_sku, findings=found)
    causes.Causes(handled, by_sku, findings=found).check()


def _report(
    found: findings.Findings,
    database: snapshot.Snapshot,
    announced: published.Published,
    letters: dead_letters.DeadLetters,
    repeated: repeats.Repeats,
) -> Report:
    said = {
        "events published after the database was read, left out": announced.newer,
        "events announced a second time on request, left out": announced.resent,
        "messages that are on their topics again, sent while delivery was at_least_once": repeated.count,
        "dead letters of messages that did not come from these topics, left out": letters.from_elsewhere,
        "messages in the outbox, not sent yet": len(database.outbox),
        "messages in the outbox that Kafka refused, and those of their skus behind them": sum(
            row.is_quarantined for row in database.outbox
        ),
        "commands that wait": len(database.parked),
    }
    notes = {text: count for text, count in said.items() if count}
    return Report(compared=found.compared, counts=found.counts, findings=found.first, notes=notes)
