"""What the relay leaves in Kafka with each transaction: which rows of the outbox it held.

The record is in the same transaction as the messages of those rows, so that whoever reads it knows
that exactly these were sent. It names the database's incarnation, since a restored database may use
the same ids again, and counts the passes, so that an old database or an old topic is recognised.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Run(NamedTuple):
    """All ids from `first` to `last`, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The rows of one pass; `number` counts the passes of a shard from 1, the one at its creation is 0."""

    database_id: str
    incarnation: str
    number: int
    runs: tuple[Run, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows the pass held."""
        return sum(run.last - run.first + 1 for run in self.runs)

    def to_json(self) -> bytes:
        """Return the record's value."""
        fields = {
            "database": self.database_id,
            "incarnation": self.incarnation,
            "pass": self.number,
            "rows": self.runs,
        }
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, value: bytes) -> Checkpoint:
        """Read a record's value; raises `ValueError` when it is no checkpoint."""
        try:
            fields = json.loads(value)
            return cls(
                database_id=str(fields["database"]),
                incarnation=str(fields["incarnation"]),
                number=int(fields["pass"]),
                runs=tuple(Run(int(first), int(last)) for first, last in fields["rows"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{value[:100]!r} is no checkpoint of a relay") from error


def runs_of(ids: Sequence[int]) -> tuple[Run, ...]:
    """Join ascending ids to runs without gaps."""
    if ids and ids[-1] - ids[0] == len(ids) - 1:
        return (Run(ids[0], ids[-1]),)
    return tuple(_joined(ids))


def _joined(ids: Iterable[int]) -> Iterable[Run]:
    run: Run | None = None
    for id_ in ids:
        if run is not None and id_ == run.last + 1:
            run = Run(run.first, id_)
            continue
        if run is not None:
            yield run
        run = Run(id_, id_)
    if run is not None:
        yield run
