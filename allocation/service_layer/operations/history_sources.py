"""Find on the topics what a history is made of, without reading more than is needed.

A sku's records lie in one partition of each topic, by its key. Should something be missing there (a sender
with another partitioner), all partitions are looked through. What does not concern the subject is passed
over by its bytes, before anything is decoded.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from allocation.domain import commands
from allocation.service_layer import messages, partitioning
from allocation.service_layer.operations import dead_letters
from allocation.service_layer.operations.replay import journal_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from allocation.service_layer import reading, topics
    from allocation.service_layer.operations import history
    from allocation.service_layer.operations.verify import ports

_PROGRESS_EVERY = 1000  # records


class Word(NamedTuple):
    """What the journal says of a command, and when."""

    row: journal_order.Row
    entry: int
    what: str


Place = tuple[str, int, int]  # topic, partition, offset


class Found(NamedTuple):
    """What lies on the topics about some skus; `words` and `letters` by the place of the command."""

    messages: Sequence[messages.Message]
    events: Sequence[messages.Record]
    words: Mapping[Place, Sequence[Word]]
    letters: Mapping[Place, Sequence[dead_letters.DeadLetter]]
    notes: Sequence[str]


class Sources:
    """Reads the topics as they are when it is made; for one thread. All blocks and may raise `DependencyDown`."""

    def __init__(
        self,
        *,
        logs: ports.Logs,
        topics: topics.TopicNames,
        reader: reading.MessageReader,
        on_progress: ports.Progress,
    ) -> None:
        self._logs = logs
        self._topics = topics
        self._reader = reader
        self._on_progress = on_progress
        self._bounds = logs.bounds(
            [*topics.commands.values(), *topics.events.values(), topics.dead_letter, topics.journal]
        )

    def skus(self, subject: history.Subject) -> frozenset[str]:
        """Return the skus that a subject has to do with; none when nothing is known of it."""
        if subject.kind == "sku":
            return frozenset({subject.id})
        if subject.sku is not None:
            return frozenset({subject.sku})
        if subject.kind == "order":
            found = self._commands([self._topics.allocate], _holds({subject.id}))
            return frozenset(
                one.command.sku
                for one in found
                if isinstance(one.command, commands.Allocate) and one.command.orderid == subject.id
            )
        found = self._commands([self._topics.create_batch], _holds({subject.id}))
        return frozenset(
            one.command.sku
            for one in found
            if isinstance(one.command, commands.CreateBatch) and one.command.ref == subject.id
        )

    def read(self, skus: frozenset[str]) -> Found:
        """Return all that lies on the topics about these skus."""
        events = list(self._events(skus))
        known = {one.record[:4]: one for one in self._commands_by_key(skus)}
        lacking = _causes(events) - {one.id.id for one in known.values()}
        if lacking or _batches_lacking(known.values(), events):
            everywhere = self._commands(list(self._topics.commands.values()), _concerns(skus, lacking))
            known |= {one.record[:4]: one for one in everywhere}
        places = [_place(one.record) for one in known.values()]
        return Found(
            messages=list(known.values()),
            events=events,
            words=self._words(places),
            letters=self._letters(places),
            notes=self._notes(),
        )

    def _events(self, skus: frozenset[str]) -> Iterator[messages.Record]:
        keys = {sku.encode() for sku in skus}
        for record in self._records("events", list(self._topics.events.values()), keys):
            if record.key in keys and messages.RESENT not in dict(record.headers):
                yield record

    def _commands_by_key(self, skus: frozenset[str]) -> list[messages.Message]:
        """Return the commands about these skus: batches first, since a change of one may be keyed by its reference."""
        keys = {sku.encode() for sku in skus}
        names = self._topics
        created = self._commands([names.create_batch], _has_key(keys), keys)
        refs = {one.command.ref.encode() for one in created if isinstance(one.command, commands.CreateBatch)}
        changed = self._commands([names.change_batch_quantity], _has_key(keys | refs), keys | refs)
        return [*created, *changed, *self._commands([names.allocate], _has_key(keys), keys)]

    def _commands(
        self,
        names: Sequence[str],
        is_wanted: Callable[[messages.Record], bool],
        keys: Collection[bytes] | None = None,
    ) -> list[messages.Message]:
        found = (record for record in self._records("commands", names, keys) if is_wanted(record))
        return [self._reader.read(record) for record in found]

    def _words(self, places: Iterable[Place]) -> dict[Place, list[Word]]:
        offsets: dict[tuple[str, int], list[int]] = defaultdict(list)
        for topic, partition, offset in sorted(places):
            offsets[topic, partition].append(offset)
        found: dict[Place, list[Word]] = defaultdict(list)
        rows: dict[int, journal_order.Row] = {}
        for record in self._records("the journal", [self._topics.journal]):
            for row in journal_order.rows([record]).values():
                if any((entry.topic, entry.partition) in offsets for entry in row.entries):
                    rows[row.number] = row
        for _, row in sorted(rows.items()):
            for index, entry in enumerate(row.entries):
                own = offsets.get((entry.topic, entry.partition), [])
                for offset in own[bisect.bisect_left(own, entry.first) : bisect.bisect_right(own, entry.last)]:
                    found[entry.topic, entry.partition, offset].append(Word(row, index, entry.what))
        return found

    def _letters(self, places: Iterable[Place]) -> dict[Place, list[dead_letters.DeadLetter]]:
        wanted = set(places)
        found: dict[Place, list[dead_letters.DeadLetter]] = defaultdict(list)
        for record in self._records("dead letters", [self._topics.dead_letter]):
            letter = dead_letters.read(record)
            if letter.origin is None:
                continue
            place = (letter.origin.topic, letter.origin.partition, letter.origin.offset)
            if place in wanted:
                found[place].append(letter)
        return found

    def _records(
        self, what: str, names: Sequence[str], keys: Collection[bytes] | None = None
    ) -> Iterator[messages.Record]:
        """Yield the records of these topics, with `keys` only those of the partitions where such keys lie."""
        until = {log: bounds.end for log, bounds in self._bounds.items() if log[0] in names}
        if keys is not None:
            wanted = {(name, self._partition_of(key, name)) for name in names for key in keys}
            until = {log: end if log in wanted else 0 for log, end in until.items()}
        total = sum(max(end - self._bounds[log].begin, 0) for log, end in until.items())
        for done, record in enumerate(self._logs.read(names, until=until)):
            if done % _PROGRESS_EVERY == 0:
                self._on_progress(what, done, total)
            yield record

    def _partition_of(self, key: bytes, name: str) -> int:
        return partitioning.partition_of(key, partitions=sum(topic == name for topic, _ in self._bounds))

    def _notes(self) -> list[str]:
        return [
            f"{topic}/{partition} begins at offset {bounds.begin}: what was before is not told"
            for (topic, partition), bounds in sorted(self._bounds.items())
            if bounds.begin > 0
        ]


def _place(record: messages.Record) -> Place:
    return (record.topic, record.partition, record.offset)


def _causes(events: Iterable[messages.Record]) -> set[str]:
    found = (dict(record.headers).get(messages.CE_CAUSATIONID) or b"" for record in events)
    return {cause.decode(errors="backslashreplace") for cause in found}


def _batches_lacking(known: Iterable[messages.Message], events: Sequence[messages.Record]) -> bool:
    return bool(events) and not any(isinstance(one.command, commands.CreateBatch) for one in known)


def _has_key(keys: Collection[bytes]) -> Callable[[messages.Record], bool]:
    return lambda record: record.key in keys


def _holds(ids: Iterable[str]) -> Callable[[messages.Record], bool]:
    """Return what tells quickly whether a value may name one of these: Avro writes text as it is."""
    wanted = [id_.encode() for id_ in ids]
    return lambda record: any(id_ in (record.value or b"") for id_ in wanted)


def _concerns(skus: Iterable[str], ids: Iterable[str]) -> Callable[[messages.Record], bool]:
    names_sku, wanted = _holds(skus), {id_.encode() for id_ in ids}
    return lambda record: names_sku(record) or dict(record.headers).get(messages.CE_ID) in wanted
