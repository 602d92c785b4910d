"""The events that were announced: what is on the topics, and what the outbox still holds.

An event in both counts once, since the relay may have sent it after the snapshot was taken; one that
is twice on its topic is a finding, unless at_least_once may have repeated it. What is newer than the
snapshot is left out, sku by sku, by the number that the snapshot had counted to.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from allocation.service_layer import messages
from allocation.service_layer.operations.verify import events
from allocation.service_layer.operations.verify.findings import Check, Findings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allocation.service_layer.operations.verify import repeats, snapshot


class Published:
    """Collects events; first all of the topics, then those of the outbox."""

    def __init__(
        self,
        *,
        database: snapshot.Snapshot,
        reader: events.EventReader,
        repeats: repeats.Repeats,
        findings: Findings,
    ) -> None:
        self._counters = {sku: product.event_sequence for sku, product in database.products.items()}
        self._reader = reader
        self._repeats = repeats
        self._findings = findings
        self._places: dict[str, str] = {}  # by id
        self._last: dict[tuple[str, int, str], int] = {}  # sequence by topic, partition and sku
        self._highest: dict[tuple[str, str], int] = defaultdict(int)  # the same by topic and sku
        self._newest: dict[str, int] = {}  # the last one of each sku that is newer than the snapshot
        self.by_sku: dict[str, list[events.Event]] = defaultdict(list)
        self.newer = 0
        self.resent = 0

    def add(self, record: messages.Record) -> None:
        """Take the next record of a topic."""
        headers = dict(record.headers)
        if messages.RESENT in headers:
            self.resent += 1
            return
        place = f"{record.topic}/{record.partition}/{record.offset}"
        event = self._read(record.topic, record.key, record.value, headers, place)
        if event is not None and self._is_first(event, record):
            self._check_order(event, record.topic, record.partition)
            self._keep(event)

    def add_unsent(self, row: snapshot.OutboxRow) -> None:
        """Take the next row of the outbox, in the order of ids."""
        event = self._read(row.topic, row.key, row.value, dict(row.headers), f"outbox row {row.id}")
        if event is None:
            return
        known = self._places.get(event.id, "")
        if known and not known.startswith("outbox"):
            return  # it was sent after the snapshot
        if self._is_first(event):
            self._check_order_of_unsent(event, row.topic)
            self._keep(event)

    def finish(self, later: Mapping[str, int]) -> None:
        """Sort, and see that each sku's events run from 1 to its counter; `later` are counters of a later moment."""
        for sku, newest in self._newest.items():
            if newest > later.get(sku, 0):
                text = f"event {newest} is on its topic, but the database counts {later.get(sku, 0)} only"
                self._findings.add(Check.EVENTS, sku, f"{text}: was it restored from a back-up?")
        for sku in self._counters.keys() | self.by_sku.keys():
            self.by_sku[sku].sort(key=_sequence)
            self._check_sequence(sku)
        self._findings.compared[Check.EVENTS] = sum(map(len, self.by_sku.values()))

    def _read(
        self, topic: str, key: bytes | None, value: bytes | None, headers: dict[str, bytes | None], place: str
    ) -> events.Event | None:
        try:
            return self._reader.read(topic, key, value, headers, place=place)
        except events.Unusable as why:
            self._findings.add(Check.EVENTS, place, f"is no event of this service: {why}")
            return None

    def _is_first(self, event: events.Event, record: messages.Record | None = None) -> bool:
        known = self._places.setdefault(event.id, event.place)
        if known == event.place:
            return True
        if record is not None and self._repeats.allow(record):
            return False
        text = f"event {event.sequence} of {event.line.sku} is there twice: id {event.id} is also at {known}"
        self._findings.add(Check.EVENTS, event.place, text)
        return False

    def _check_order(self, event: events.Event, topic: str, partition: int) -> None:
        sku = event.line.sku
        before = self._last.get((topic, partition, sku), 0)
        if event.sequence < before:
            text = f"event {event.sequence} of {sku} comes after its event {before} in the same partition"
            self._findings.add(Check.EVENTS, event.place, text)
        self._last[topic, partition, sku] = event.sequence
        self._highest[topic, sku] = max(event.sequence, self._highest[topic, sku])

    def _check_order_of_unsent(self, event: events.Event, topic: str) -> None:
        sku = event.line.sku
        before = self._highest[topic, sku]
        if event.sequence < before:
            text = f"event {event.sequence} of {sku} is not sent yet, though its event {before} comes before it"
            self._findings.add(Check.EVENTS, event.place, text)
        self._highest[topic, sku] = max(event.sequence, before)

    def _keep(self, event: events.Event) -> None:
        sku = event.line.sku
        if event.sequence > self._counters.get(sku, 0):
            self.newer += 1
            self._newest[sku] = max(event.sequence, self._newest.get(sku, 0))
        else:
            self.by_sku[sku].append(event)

    def _check_sequence(self, sku: str) -> None:
        expected = 1
        previous: events.Event | None = None
        for event in self.by_sku[sku]:
            if previous is not None and event.sequence == previous.sequence:
                text = f"two events have number {event.sequence}: at {previous.place} and at {event.place}"
                self._findings.add(Check.EVENTS, sku, text)
            elif event.sequence > expected:
                self._missing(sku, expected, event.sequence - 1)
            expected = event.sequence + 1
            previous = event
        counted = self._counters.get(sku, 0)
        if expected <= counted:
            self._missing(sku, expected, counted)

    def _missing(self, sku: str, first: int, last: int) -> None:
        which = f"event {first} is" if first == last else f"events {first} to {last} are"
        self._findings.add(Check.EVENTS, sku, f"{which} neither on a topic nor in the outbox")


def _sequence(event: events.Event) -> int:
    return event.sequence
