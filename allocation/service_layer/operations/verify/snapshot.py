"""The database at one moment, as far as it is to be compared: plain values, read in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from allocation.service_layer import messages, unit_of_work


class Coordinates(NamedTuple):
    """Where a record lies, by the topic's name."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


class Line(NamedTuple):
    """An order line."""

    orderid: str
    sku: str
    qty: int

    def __str__(self) -> str:
        return f"order {self.orderid}, {self.qty} of {self.sku}"


class Placed(NamedTuple):
    """Where a line is: in which batch, and how many of its lines are below."""

    batchref: str
    place: int


class Product(NamedTuple):
    """The counters of a sku."""

    version_number: int
    event_sequence: int


class Batch(NamedTuple):
    """A row of `batches`."""

    reference: str
    sku: str
    created_quantity: int
    purchased: int
    allocated: int
    eta: date | None
    line_count: int


class Outcome(NamedTuple):
    """What the inbox says of a command."""

    attempt: int
    digest: bytes
    outcome: str
    result: str | None
    reason: str | None
    at: Coordinates


class OutboxRow(NamedTuple):
    """A message that has not been sent, or whose row has not been deleted yet."""

    id: int
    topic: str
    key: bytes | None
    value: bytes | None
    headers: messages.Headers
    is_quarantined: bool


class JournalRow(NamedTuple):
    """What one transaction did, in this order."""

    number: int
    entries: Sequence[unit_of_work.JournalEntry]
    handled_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything as of one moment; `positions` are next offsets by log, with the topic's name.

    `pruned` says of a table that its rows may be missing that are older. Until `repeats_until`, if ever, events were
    delivered at least once.
    """

    positions: Mapping[messages.LogPartition, tuple[str, int]]
    products: Mapping[str, Product]
    batches: Mapping[str, Batch]
    lines: Mapping[Line, Placed]
    inbox: Mapping[messages.MessageId, Outcome]
    parked: Mapping[Coordinates, str]
    outbox: Sequence[OutboxRow]
    journal: Sequence[JournalRow]
    pruned: Mapping[str, datetime]
    repeats_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """The counters at a later moment, for what was published after the snapshot."""

    event_sequences: Mapping[str, int]
    positions: Mapping[messages.LogPartition, tuple[str, int]]
    journal_numbers: frozenset[int]
