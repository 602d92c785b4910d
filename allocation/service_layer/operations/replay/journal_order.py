"""The journal as a list of what is to be done again, in the order in which it was done.

A row's number was drawn while its locks were held. So of two rows that concern the same sku, batch or
partition the one with the lower number came first, whatever the order in which they lie on their topic;
rows that concern nothing in common may be done in any order.
"""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from allocation.service_layer import unit_of_work
from allocation.service_layer.operations.replay import ports

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from allocation.service_layer import messages

# What is said of a record when it was read from its log; every other word is about one that was parked by then.
FIRST_WORDS = frozenset({"handled", "duplicate", "refused", "waited", "queued", "poisoned", "skipped"})


class JournalUnusable(ports.CannotReplay):
    """The journal does not say what was done; names the record or the row, and what helps."""


class Row(NamedTuple):
    """What one transaction did, in this order, and when by the database's clock."""

    number: int
    handled_at: datetime
    version: str
    entries: tuple[unit_of_work.JournalEntry, ...]

    @property
    def size(self) -> int:
        """How many records it names, at most."""
        return sum(entry.last - entry.first + 1 for entry in self.entries)


def rows(records: Iterable[messages.Record]) -> dict[int, Row]:
    """Return the rows on the journal's topic by number; raises `JournalUnusable` for what is none."""
    found: dict[int, Row] = {}
    for record in records:
        row = _row(record)
        known = found.setdefault(row.number, row)
        if known.entries != row.entries:
            raise JournalUnusable(
                f"{_place(record)} has another row {row.number} of the journal than an earlier record: two databases "
                "have written there"
            )
    return found


class Known(NamedTuple):
    """Which rows a database has; those older than `pruned_before` it may have had."""

    numbers: Collection[int]
    pruned_before: datetime | None = None


def lacking(found: Mapping[int, Row], known: Known, *, until: datetime | None = None) -> list[Row]:
    """Return the rows that a database lacks, in the order of their numbers, up to the first one after a time.

    Times are not in that order, and no row may be done without those before it.
    """
    in_time = itertools.takewhile(
        lambda row: until is None or row.handled_at <= until, (found[number] for number in sorted(found))
    )
    return [
        row
        for row in in_time
        if row.number not in known.numbers and (known.pruned_before is None or row.handled_at >= known.pruned_before)
    ]


def chunks(wanted: Sequence[Row], *, records: int) -> Iterator[Sequence[Row]]:
    """Divide rows, in their order, into parts with about so many records each."""
    chunk: list[Row] = []
    size = 0
    for row in wanted:
        chunk.append(row)
        size += row.size
        if size >= records:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _row(record: messages.Record) -> Row:
    try:
        content = json.loads(record.value or b"")
        return Row(
            number=int(content["number"]),
            handled_at=datetime.fromisoformat(content["handled_at"]),
            version=str(content["version"]),
            entries=tuple(unit_of_work.JournalEntry(*entry) for entry in content["entries"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise JournalUnusable(f"{_place(record)} is no row of a journal; nothing else may write there") from error


def _place(record: messages.Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
