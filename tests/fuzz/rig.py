"""The real processing on a real PostgreSQL, fed with anything, and its books checked after every micro-batch.

Nothing here believes what the service says of itself: what became of a message is read from the tables by
plain SQL, and a dead letter is compared with the bytes that came.
"""

from __future__ import annotations

import datetime
import itertools
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from allocation.adapters.postgres import unit_of_work, waiting_room
from allocation.service_layer import envelopes, messages, processing, reading, topics
from tests import avro_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import sqlalchemy

NAMES = topics.TopicNames()
TOPICS = tuple(NAMES.commands.values())
# All that a dead letter may name as its reason, as it is documented.
REASONS = {
    "undecodable", "unknown_schema", "wrong_record", "null_value", "invalid", "invalid_sku", "unknown_batch",
    "conflict", "id_reused", "too_large",
}  # fmt: skip
SAFE_SKU = "SAFE"
_NEVER = datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC)
_ADDED_BYTES = 64 * 1024  # a dead letter's topic takes so much more than a command's
_WORDS = {"handled", "refused", "duplicate", "waited", "queued"}
_TIMESTAMP_MS = 1_893_499_200_000
_numbers = itertools.count(1)

At = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before it has a place; `expected` is what must become of it, a reason or "handled", None: anything."""

    topic: str
    value: bytes | None
    key: bytes | None = b"key"
    headers: messages.Headers = ()
    expected: str | None = None


class DeadLetter(NamedTuple):
    """A row of the outbox."""

    key: bytes | None
    value: bytes | None
    headers: messages.Headers

    def added(self, name: str) -> str:
        """Return the last header of this name, which the service has added."""
        return (dict(self.headers)[f"dead_letter_{name}"] or b"").decode()

    @property
    def at(self) -> At:
        """Where it says that its message lay."""
        return (self.added("topic"), int(self.added("partition")), int(self.added("offset")))


def value(record_name: str, fields: dict[str, Any]) -> bytes:
    """Return a valid value."""
    return avro_values.a_serde().serialize(record_name, fields)


def neighbour() -> Draft:
    """Return a message that nothing is wrong with; it must be handled whatever lies beside it."""
    fields = {"orderid": f"safe-{next(_numbers)}", "sku": SAFE_SKU, "qty": 1}
    return Draft("allocate", value("Allocate", fields), SAFE_SKU.encode(), expected="handled")


def among_neighbours(drafts: Iterable[Draft]) -> Iterator[Draft]:
    """Yield a good message before every few others, and after the last."""
    for number, draft in enumerate(drafts):
        if number % 5 == 0:
            yield neighbour()
        yield draft
    yield neighbour()


class Rig:
    """One database and one worker's processing."""

    def __init__(self, database: sqlalchemy.Engine, *, definitions: Sequence[str] = ()) -> None:
        self._database = database
        self.registry = avro_values.FakeRegistry(*definitions)
        values = avro_values.a_serde(self.registry)
        self._patient, self._impatient = (
            processing.Processor(
                begin=lambda: unit_of_work.PostgresUnitOfWork(database, journal_topic=NAMES.journal),
                reader=reading.MessageReader(topics=NAMES, deserializer=values),
                envelopes=envelopes.Envelopes(topics=NAMES, serializer=values),
                grace_s=grace_s,
            )
            for grace_s in (60.0, 0.0)
        )
        self._offsets: dict[str, int] = {}
        self.tried = 0
        self.reasons: Counter[str] = Counter()
        stock = {"ref": "safe-batch", "sku": SAFE_SKU, "qty": 2**31 - 1, "eta": None}
        self.run([Draft("create_batch", value("CreateBatch", stock), expected="handled")])

    def run(self, drafts: Iterable[Draft], *, with_grace: bool = False) -> dict[At, str]:
        """Process these in one micro-batch, check that each was settled once; return what became of each.

        With grace, what waits is ended at once as if its time were over.
        """
        self._clear()
        sent = dict(self._place(drafts))
        (self._patient if with_grace else self._impatient).process([record for record, _ in sent.values()])
        words = self._first_words()
        assert words.keys() == sent.keys(), "the journal names other messages than came"
        self._expire(with_grace)
        letters = self._dead_letters()
        handled = self._handled()
        for at, (record, draft) in sent.items():
            fate = _fate(at, record, words[at], letters.get(at, ()), handled)
            assert draft.expected in (None, fate), f"{draft} became {fate}, not {draft.expected}"
            words[at] = fate
        assert letters.keys() <= sent.keys(), f"dead letters of nothing that came: {letters.keys() - sent.keys()}"
        self._check_events(sent)
        self.tried += len(sent)
        self.reasons.update(words.values())
        return words

    def _place(self, drafts: Iterable[Draft]) -> Iterator[tuple[At, tuple[messages.Record, Draft]]]:
        for draft in drafts:
            offset = self._offsets[draft.topic] = self._offsets.get(draft.topic, -1) + 1
            record = messages.Record(
                draft.topic, f"id-{draft.topic}", 0, offset, 0, draft.key, draft.value, draft.headers, _TIMESTAMP_MS
            )
            yield (draft.topic, 0, offset), (record, draft)

    def _expire(self, with_grace: bool) -> None:  # noqa: FBT001 - named by its only caller
        room = waiting_room.PostgresWaitingRoom(self._database)
        while with_grace and (overdue := room.overdue(_NEVER, limit=500)):
            self._patient.expire(overdue, expired_at=_NEVER)
        assert not self._rows("SELECT id FROM parked"), "something still waits"

    def _first_words(self) -> dict[At, str]:
        """Return what the journal says of each message, of which it must speak once."""
        found: dict[At, str] = {}
        for (entries,) in self._rows("SELECT entries FROM journal ORDER BY number"):
            for word, topic, partition, first, last in entries:
                for offset in range(first, last + 1):
                    at = (topic, partition, offset)
                    if word == "released":  # what waited, by a batch that was created right here
                        assert found[at] in ("waited", "queued")
                        continue
                    assert at not in found, f"{at} was settled twice"
                    assert word in _WORDS, word
                    found[at] = word
        return found

    def _dead_letters(self) -> dict[At, list[DeadLetter]]:
        found: dict[At, list[DeadLetter]] = {}
        for key, sent, headers in self._rows(
            "SELECT key, value, headers FROM outbox WHERE topic = 'allocation.dead_letter' ORDER BY id"
        ):
            pairs = tuple(
                (name, None if text is None else text.encode("latin-1")) for name, text in json.loads(headers)
            )
            letter = DeadLetter(_bytes(key), _bytes(sent), pairs)
            found.setdefault(letter.at, []).append(letter)
        return found

    def _handled(self) -> set[At]:
        rows = self._rows("""SELECT topic, partition, "offset" FROM inbox WHERE outcome = 'handled'""")
        return {tuple(row) for row in rows}

    def _check_events(self, sent: dict[At, tuple[messages.Record, Draft]]) -> None:
        """Every neighbour's line got its batch, and nobody else's has gone with it."""
        wanted = sum(draft.expected == "handled" and draft.topic == "allocate" for _, draft in sent.values())
        published = self._rows(
            "SELECT count(*) FROM outbox WHERE topic = 'line_allocated' AND key = convert_to(%s, 'UTF8')", SAFE_SKU
        )
        assert published[0][0] >= wanted
        assert not self._rows("SELECT sku FROM batches WHERE allocated NOT BETWEEN 0 AND purchased")

    def _clear(self) -> None:
        with self._database.begin() as connection:
            connection.exec_driver_sql("TRUNCATE outbox, journal, parked")

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._database.connect() as connection:
            return list(connection.exec_driver_sql(statement, values))


def _fate(at: At, record: messages.Record, word: str, letters: Sequence[DeadLetter], handled: set[At]) -> str:
    """Return what became of a message; fail where the tables disagree on it."""
    assert len(letters) <= 1, f"{at} has {len(letters)} dead letters"
    if word == "duplicate":
        assert not letters, f"{at} is a duplicate and a dead letter"
        return word
    if not letters:
        assert word != "refused", f"{at} was refused and is no dead letter"
        assert at in handled or dict(record.headers).get("ce_id"), f"{at} is neither handled nor a dead letter"
        return "handled"
    (letter,) = letters
    assert word != "handled", f"{at} was handled and is a dead letter"
    reason = letter.added("reason")
    if reason == "too_large":
        assert (record.key or b"").startswith(letter.key or b"")
        assert (record.value or b"").startswith(letter.value or b"")
        return reason
    kept = tuple(header for header in record.headers if not header[0].startswith("dead_letter_"))
    assert (letter.key, letter.value) == (record.key, record.value)
    assert letter.headers[: len(kept)] == kept
    assert letter.added("error"), at
    added = sum(len(name) + len(text or b"") + 8 for name, text in letter.headers[len(kept) :])
    assert added < _ADDED_BYTES, f"{at}: its dead letter is {added} bytes larger"
    assert reason in REASONS, f"{at}: {reason}, {letter.added('error')}"
    return reason


def _bytes(stored: Any) -> bytes | None:
    return None if stored is None else bytes(stored)
