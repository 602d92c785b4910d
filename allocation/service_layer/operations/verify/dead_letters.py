"""The dead letters, by the place of what was refused: on their topic, or still in the outbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from allocation.service_layer.operations.verify import snapshot
from allocation.service_layer.operations.verify.findings import Check, Findings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from allocation.service_layer import messages
    from allocation.service_layer.operations.verify import repeats

_PREFIX = "dead_letter_"


class DeadLetter(NamedTuple):
    """A refused message as it was put aside; `is_unsent`: it is in the snapshot's outbox, and so as old as that."""

    reason: str
    attempt: int
    key: bytes | None
    value: bytes | None
    headers: messages.Headers
    place: str
    is_unsent: bool


class DeadLetters:
    """Collects; first all of the topic, then those of the outbox."""

    def __init__(self, *, topics: Collection[str], repeats: repeats.Repeats, findings: Findings) -> None:
        self._topics = topics
        self._repeats = repeats
        self._findings = findings
        self._letters: dict[snapshot.Coordinates, DeadLetter] = {}
        self.from_elsewhere = 0

    def add(self, record: messages.Record) -> None:
        """Take the next record of the topic."""
        place = f"{record.topic}/{record.partition}/{record.offset}"
        found = self._read(record.key, record.value, record.headers, place=place, is_unsent=False)
        if found is None:
            return
        at, letter = found
        known = self._letters.setdefault(at, letter)
        if known is not letter and not self._is_repeat(known, letter, record):
            self._findings.add(Check.DEAD_LETTERS, at, f"is a dead letter twice: at {known.place} and at {place}")

    def _is_repeat(self, known: DeadLetter, letter: DeadLetter, record: messages.Record) -> bool:
        return letter._replace(place=known.place) == known and self._repeats.allow(record)

    def add_unsent(self, row: snapshot.OutboxRow) -> None:
        """Take the next row of the outbox; one that is on the topic too was sent after the snapshot."""
        found = self._read(row.key, row.value, row.headers, place=f"outbox row {row.id}", is_unsent=True)
        if found is None:
            return
        at, letter = found
        known = self._letters.get(at)
        if known is not None and known.is_unsent:
            self._findings.add(Check.DEAD_LETTERS, at, f"is a dead letter twice: {known.place} and {letter.place}")
        self._letters[at] = letter

    def take(self, at: snapshot.Coordinates) -> DeadLetter | None:
        """Return the dead letter of the record there, each once."""
        return self._letters.pop(at, None)

    def finish(
        self,
        handled: Mapping[messages.LogPartition, tuple[str, int]],
        later: Mapping[messages.LogPartition, tuple[str, int]],
    ) -> None:
        """See that none is left but newer ones; `handled` and `later` are positions at the snapshot and later."""
        before, after = _by_name(handled), _by_name(later)
        for at, letter in self._letters.items():
            log = (at.topic, at.partition)
            if at.offset < before.get(log, 0):
                self._findings.add(Check.DEAD_LETTERS, letter.place, f"is of {at}, where no command is")
            elif letter.is_unsent or at.offset >= after.get(log, 0):
                self._findings.add(Check.DEAD_LETTERS, letter.place, f"is of {at}, which has not been handled")

    def _read(
        self, key: bytes | None, value: bytes | None, headers: messages.Headers, *, place: str, is_unsent: bool
    ) -> tuple[snapshot.Coordinates, DeadLetter] | None:
        own = {name: content or b"" for name, content in headers if name.startswith(_PREFIX)}
        try:
            at = snapshot.Coordinates(
                own["dead_letter_topic"].decode(),
                int(own["dead_letter_partition"]),
                int(own["dead_letter_offset"]),
            )
            reason, attempt = own["dead_letter_reason"].decode(), int(own["dead_letter_attempt"])
        except (KeyError, ValueError):
            self._findings.add(Check.DEAD_LETTERS, place, "does not say which message it is of, and why")
            return None
        if at.topic not in self._topics:  # what came from Redis, or from another installation's topics
            self.from_elsewhere += 1
            return None
        return at, DeadLetter(reason, attempt, key, value, original_headers(headers), place, is_unsent)


def original_headers(headers: messages.Headers) -> messages.Headers:
    """Return the headers without those that a dead letter adds."""
    return tuple(header for header in headers if not header[0].startswith(_PREFIX))


def _by_name(positions: Mapping[messages.LogPartition, tuple[str, int]]) -> dict[tuple[str, int], int]:
    return {(topic, log.partition): next_offset for log, (topic, next_offset) in positions.items()}
