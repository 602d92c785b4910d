"""A small installation on paper: what its database and topics hold after a history, written down by hand.

Nothing here decides anything: a test says what happened, and the world notes it everywhere where the
service would. What a test then changes in one place is for the verification to find.
"""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from allocation.adapters.avro import serde
from allocation.domain import commands
from allocation.service_layer import envelopes, external_events, messages, reading, topics, unit_of_work
from allocation.service_layer.operations.verify import events, ports, snapshot, verification

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NAMES = topics.TopicNames()
TIME = datetime(2030, 1, 1, tzinfo=UTC)
LATER = date(2030, 2, 1)
SOURCE = "tests"
A, B, C = (snapshot.Line(orderid, "CHAIR", 3) for orderid in ("o1", "o2", "o3"))
_RECORDS = (*NAMES.commands, *NAMES.events)
SERDE = serde.AvroSerde(ids={name: number for number, name in enumerate(_RECORDS, start=1)}, lookup=lambda _id: "")
READER = reading.MessageReader(topics=NAMES, deserializer=SERDE)
ENVELOPES = envelopes.Envelopes(topics=NAMES, serializer=SERDE)


class World:
    """One partition a topic. What goes out gets to its topic, or stays in the outbox while `relays` is off."""

    def __init__(self) -> None:
        everything = (*NAMES.commands.values(), *NAMES.events.values(), NAMES.dead_letter, NAMES.journal)
        self.topics: dict[str, list[messages.Record]] = {name: [] for name in everything}
        self.begins: dict[str, int] = {}
        self.hidden: dict[str, int] = {}
        self.positions: dict[messages.LogPartition, tuple[str, int]] = {}
        self.products: dict[str, snapshot.Product] = {}
        self.batches: dict[str, snapshot.Batch] = {}
        self.lines: dict[snapshot.Line, snapshot.Placed] = {}
        self.inbox: dict[messages.MessageId, snapshot.Outcome] = {}
        self.parked: dict[snapshot.Coordinates, str] = {}
        self.outbox: list[snapshot.OutboxRow] = []
        self.journal: list[snapshot.JournalRow] = []
        self.pruned: dict[str, datetime] = {}
        self.repeats_until: datetime | None = None
        self.time = TIME
        self.relays = True
        self.frozen: snapshot.Snapshot | None = None
        self._ids = 0

    # What the service does.

    def sent(self, command: commands.Command, **more: Any) -> messages.Message:
        """A command on its topic, not handled yet."""
        return self.sent_fields(type(command).__name__, envelopes.command_fields(command), **more)

    def sent_fields(
        self,
        name: str,
        fields: Mapping[str, Any],
        *,
        id: str | None = None,  # noqa: A002
        attempt: int = 1,
    ) -> messages.Message:
        outgoing = ENVELOPES.fields(name, fields, id=messages.MessageId(SOURCE, id or self._next_id()), time=TIME)
        if attempt > 1:
            outgoing = outgoing._replace(headers=(*outgoing.headers, (messages.ATTEMPT, b"%d" % attempt)))
        return READER.read(self.append(outgoing))

    def created(self, ref: str, sku: str, qty: int, eta: date | None = None, **more: Any) -> messages.Message:
        message = self.sent(commands.CreateBatch(ref, sku, qty, eta), **more)
        self.handled(message)
        self.batches[ref] = snapshot.Batch(ref, sku, qty, qty, 0, eta, 0)
        self._count(sku, versions=1)
        return message

    def allocated(self, orderid: str, sku: str, qty: int, to: str | None, **more: Any) -> messages.Message:
        """A line got a batch, or with `to` None found no room."""
        message = self.sent(commands.Allocate(orderid, sku, qty), **more)
        self.handled(message, result=to)
        self._place(message, 0, snapshot.Line(orderid, sku, qty), to)
        return message

    def changed(self, ref: str, qty: int, moves: Sequence[tuple[snapshot.Line, str | None]] = ()) -> messages.Message:
        """A batch got another quantity; these lines, its latest, went to other batches."""
        sku = self.batches[ref].sku
        message = self.sent(commands.ChangeBatchQuantity(ref, qty, sku))
        self.handled(message)
        self.batches[ref] = self.batches[ref]._replace(purchased=qty)
        self._count(sku, versions=1)
        for ordinal, (line, _) in enumerate(moves):
            self._take_off(message, ordinal, line, ref)
        for ordinal, (line, to) in enumerate(moves, start=len(moves)):
            self._place(message, ordinal, line, to)
        return message

    def handled(self, message: messages.Message, *, what: str = "handled", result: str | None = None) -> None:
        self.journaled(what, message)
        self.noted(message, "handled", result=result)

    def refused(self, message: messages.Message, reason: str = "invalid", *, what: str = "refused") -> None:
        self.journaled(what, message)
        if reason != "id_reused":
            self.noted(message, "refused", reason=reason)
        self.send(ENVELOPES.dead_letter(message, reason=reason, error="a reason"))

    def waited(self, message: messages.Message, what: str = "waited") -> None:
        self.journaled(what, message)
        self.noted(message, "waiting")
        self.parked[coordinates(message)] = "waiting"

    def journaled(self, what: str, *of: messages.Message) -> None:
        """One transaction."""
        entries = [
            unit_of_work.JournalEntry(what, one.record.topic, 0, one.record.offset, one.record.offset) for one in of
        ]
        row = snapshot.JournalRow(len(self.journal) + 1, entries, self.time)
        self.journal.append(row)
        content = {
            "number": row.number,
            "handled_at": self.time.isoformat(),
            "version": "1",
            "entries": [list(entry) for entry in entries],
        }
        self.send(messages.OutboxMessage(NAMES.journal, b"%d" % row.number, json.dumps(content).encode(), ()))
        for one in of:
            self.parked.pop(coordinates(one), None)
            topic, before = self.positions.get(one.record.log, (one.record.topic, 0))
            self.positions[one.record.log] = (topic, max(before, one.record.offset + 1))

    def noted(
        self, message: messages.Message, outcome: str, *, result: str | None = None, reason: str | None = None
    ) -> None:
        at = coordinates(message)
        self.inbox[message.id] = snapshot.Outcome(message.attempt, message.digest, outcome, result, reason, at)

    def announced(
        self, event: external_events.ExternalEvent, cause: messages.Message, *, ordinal: int = 0, sequence: int = 0
    ) -> messages.OutboxMessage:
        """An event; without a sequence the next of its sku."""
        if not sequence:
            sequence = self._count(event.sku, events=1).event_sequence
        of = envelopes.Cause(message=cause, time=TIME)
        outgoing = ENVELOPES.event(event, cause=of, ordinal=ordinal, sequence=sequence)
        self.send(outgoing)
        return outgoing

    def send(self, outgoing: messages.OutboxMessage) -> None:
        if self.relays:
            self.append(outgoing)
        else:
            row = (outgoing.topic, outgoing.key, outgoing.value, outgoing.headers, False)
            self.outbox.append(snapshot.OutboxRow(len(self.outbox) + 1, *row))

    def append(self, outgoing: messages.OutboxMessage) -> messages.Record:
        """Put a message on its topic."""
        log = self.topics[outgoing.topic]
        record = messages.Record(
            outgoing.topic, f"id-of-{outgoing.topic}", 0, len(log), 0, outgoing.key, outgoing.value, outgoing.headers, 0
        )
        log.append(record)
        return record

    def relay(self) -> None:
        """Send what is in the outbox, and delete the rows."""
        for row in self.outbox:
            self.append(messages.OutboxMessage(row.topic, row.key, row.value, row.headers))
        self.outbox.clear()

    def freeze(self) -> None:
        """Let the snapshot be of now; what is done afterwards is newer."""
        self.frozen = self._now()

    # What the verification reads.

    def read(self) -> snapshot.Snapshot:
        return self.frozen or self._now()

    def later(self) -> snapshot.Later:
        return snapshot.Later(
            event_sequences={sku: product.event_sequence for sku, product in self.products.items()},
            positions=self.positions,
            journal_numbers=frozenset(row.number for row in self.journal),
        )

    def bounds(self, names: Sequence[str]) -> Mapping[ports.TopicPartition, ports.Bounds]:
        return {
            (name, 0): ports.Bounds(
                f"id-of-{name}", self.begins.get(name, 0), self._end(name), self.hidden.get(name, 0)
            )
            for name in names
        }

    def read_logs(self, names: Sequence[str], until: Mapping[ports.TopicPartition, int]) -> Iterator[messages.Record]:
        for name in names:
            yield from (record for record in self.topics[name] if record.offset < until[name, 0])

    def verify(
        self, *, keep: int = 100, on_progress: ports.Progress = lambda _what, _done, _total: None
    ) -> verification.Report:
        return verification.Verification(
            database=self,
            logs=_Logs(self),
            topics=NAMES,
            messages=READER,
            events=events.EventReader(topics=NAMES, deserializer=SERDE),
        ).run(keep=keep, on_progress=on_progress)

    def findings(self) -> list[str]:
        """Return what a verification finds, as `check: subject text`."""
        return [f"{one.check.title}: {one.subject} {one.text}" for one in self.verify().findings]

    def _now(self) -> snapshot.Snapshot:
        return snapshot.Snapshot(
            positions=dict(self.positions),
            products=dict(self.products),
            batches=dict(self.batches),
            lines=dict(self.lines),
            inbox=dict(self.inbox),
            parked=dict(self.parked),
            outbox=list(self.outbox),
            journal=list(self.journal),
            pruned=dict(self.pruned),
            repeats_until=self.repeats_until,
        )

    def _place(self, cause: messages.Message, ordinal: int, line: snapshot.Line, to: str | None) -> None:
        if to is None:
            self.announced(external_events.OutOfStock(line.sku, line.orderid, line.qty), cause, ordinal=ordinal)
            return
        batch = self.batches[to]
        self.lines[line] = snapshot.Placed(to, batch.line_count)
        self.batches[to] = batch._replace(allocated=batch.allocated + line.qty, line_count=batch.line_count + 1)
        self._count(line.sku, versions=1)
        self.announced(external_events.LineAllocated(*line, to), cause, ordinal=ordinal)

    def _take_off(self, cause: messages.Message, ordinal: int, line: snapshot.Line, ref: str) -> None:
        batch = self.batches[ref]
        del self.lines[line]
        self.batches[ref] = batch._replace(allocated=batch.allocated - line.qty, line_count=batch.line_count - 1)
        self._count(line.sku, versions=1)
        self.announced(external_events.LineDeallocated(*line, ref), cause, ordinal=ordinal)

    def _count(self, sku: str, *, versions: int = 0, events: int = 0) -> snapshot.Product:
        version, sequence = self.products.get(sku, (0, 0))
        self.products[sku] = snapshot.Product(version + versions, sequence + events)
        return self.products[sku]

    def _end(self, name: str) -> int:
        return max((record.offset + 1 for record in self.topics[name]), default=0)

    def _next_id(self) -> str:
        self._ids += 1
        return f"c{self._ids}"


@dataclasses.dataclass(frozen=True)
class _Logs:
    world: World

    def bounds(self, names: Sequence[str]) -> Mapping[ports.TopicPartition, ports.Bounds]:
        return self.world.bounds(names)

    def read(self, names: Sequence[str], *, until: Mapping[ports.TopicPartition, int]) -> Iterator[messages.Record]:
        return self.world.read_logs(names, until)


def coordinates(message: messages.Message) -> snapshot.Coordinates:
    return snapshot.Coordinates(message.record.topic, message.record.partition, message.record.offset)
