"""Publish events again for those who have lost them: the same keys, values, ids and numbers, marked as resent.

They go through the outbox, so each once, and behind what is announced before them. The mark lets readers who
act on news (our own bridge among them) pass them over; who keeps what events say knows them by their ids.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allocation.service_layer import messages
from allocation.service_layer import ports as outside
from allocation.service_layer.operations import audit

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from allocation.service_layer import topics
    from allocation.service_layer.operations.replay import pacing, ports

CHUNK = 1000  # records that are looked at, and events sent, at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events are meant: sent from `since` to before `until`, None for now; what is empty does not matter."""

    since: datetime
    until: datetime | None = None
    orderids: Collection[str] = ()
    skus: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it lies on its topic."""

    record: messages.Record
    fields: Mapping[str, Any]

    @property
    def at(self) -> str:
        """Where it lies."""
        return f"{self.record.topic}/{self.record.partition}/{self.record.offset}"


class Resender:
    """Works on one installation; every method blocks."""

    def __init__(
        self,
        *,
        logs: ports.Logs,
        begin: Callable[[], audit.OperatorUnitOfWork],
        deserializer: outside.Deserializer,
        names: topics.TopicNames,
        pace: pacing.Pace,
    ) -> None:
        self._logs = logs
        self._begin = begin
        self._deserializer = deserializer
        self._pace = pace
        self._record_names = {topic: name for name, topic in names.events.items()}

    def run(
        self, names: Sequence[str], wanted: Filter, note: audit.Note, *, dry_run: bool, on_progress: ports.Progress
    ) -> Iterator[Event]:
        """Yield the events of these topics that are meant and go out again, or would; none that was resent before."""
        bounds = self._logs.bounds(names)
        first = self._logs.offsets_at(bounds, wanted.since)
        last = {} if wanted.until is None else self._logs.offsets_at(bounds, wanted.until)
        starts = {at: first.get(at, one.end) for at, one in bounds.items()}
        ends = {at: max(last.get(at, one.end), starts[at]) for at, one in bounds.items()}
        total = sum(ends.values()) - sum(starts.values())
        done = 0
        for chunk in _chunks(self._logs.between(starts, ends)):
            events = [event for event in map(self._event, chunk) if event is not None and _is_wanted(event, wanted)]
            done += len(chunk)
            on_progress("events", done, total)
            if events and not dry_run:
                self._send(events, note)
                self._pace.wait(on_progress, "events", done, total)
            yield from events

    def _send(self, events: Sequence[Event], note: audit.Note) -> None:
        with self._begin() as uow:
            for event in events:
                uow.send(_resent(event.record))
            subject = f"{len(events)} events, from {events[0].at} to {events[-1].at}"
            uow.write_audit([audit.Entry("replay.resent", subject, note)])
            uow.commit()

    def _event(self, record: messages.Record) -> Event | None:
        """Return the event, None for what is none, or was resent: one original is enough."""
        if record.value is None or messages.RESENT in dict(record.headers):
            return None
        try:
            return Event(record, self._deserializer.deserialize(self._record_names[record.topic], record.value))
        except outside.UnreadableValue:
            return None


def _chunks(records: Iterator[messages.Record]) -> Iterator[list[messages.Record]]:
    while chunk := list(itertools.islice(records, CHUNK)):
        yield chunk


def _is_wanted(event: Event, wanted: Filter) -> bool:
    return (not wanted.orderids or event.fields["orderid"] in wanted.orderids) and (
        not wanted.skus or event.fields["sku"] in wanted.skus
    )


def _resent(record: messages.Record) -> messages.OutboxMessage:
    sku = None if record.key is None else record.key.decode(errors="replace")
    return messages.OutboxMessage(
        record.topic, record.key, record.value, (*record.headers, (messages.RESENT, b"1")), sku=sku
    )
