"""From Kafka to Redis and to the buying team: every committed event is passed on at least once, in order.

The position moves only after the event was taken by whoever it is for. Records marked as resent were
announced long ago, and are passed over.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import structlog

from allocation.service_layer import external_events, kill_points, messages, signals
from allocation.service_layer import ports as outside
from allocation.service_layer.bridging import perseverance, ports, starting_points

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

log = structlog.get_logger()

_Result = TypeVar("_Result")

GROUP_RECORDS = 500
IDLE_S = 0.5  # how soon a stop is noticed when nothing happens
CHECK_TOPIC_S = 30.0  # how soon partitions that were added are read

_EVENTS: Mapping[str, Callable[..., external_events.ExternalEvent]] = {
    "LineAllocated": external_events.LineAllocated,
    "OutOfStock": external_events.OutOfStock,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way out: the events of that name on that topic, for this reader, whose positions have its name."""

    reader: str
    topic: str
    record_name: str


class Outbound:
    """Passes the events of one route on; to be run by one thread."""

    def __init__(
        self,
        *,
        route: Route,
        open_log: Callable[[], AbstractContextManager[ports.EventLog]],
        deserializer: outside.Deserializer,
        sink: ports.Sink,
        positions: ports.Positions,
        signals: signals.Signals = signals.SILENT,
    ) -> None:
        self._route = route
        self._item = f"to {route.reader}"
        self._signals = signals
        self._open_log = open_log
        self._deserializer = deserializer
        self._sink = sink
        self._positions = positions

    def run(self, stopping: threading.Event) -> None:
        """Pass on until told to stop."""
        try:
            while not stopping.is_set():
                self._keep_trying(lambda: self._follow(stopping), what=self._route.topic, stopping=stopping)
        finally:
            self._signals.forgets(self._item)

    def _keep_trying(self, action: Callable[[], _Result], *, what: str, stopping: threading.Event) -> _Result | None:
        return perseverance.keep_trying(
            action, what=what, stopping=stopping, tell=lambda problem: self._signals.says(self._item, problem)
        )

    def establish(self) -> None:
        """Fix where this reader begins, if it has never run. Raises `Retryable`."""
        with self._open_log() as events:
            self._starting_points(events)

    def _follow(self, stopping: threading.Event) -> None:
        with self._open_log() as events:
            events.start(self._starting_points(events))
            check_at = time.monotonic() + CHECK_TOPIC_S
            while not stopping.is_set():
                self._signals.says(self._item)
                records = events.take(limit=GROUP_RECORDS, timeout_s=IDLE_S)
                if records:
                    self._pass_on(records, topic_id=events.topic_id, stopping=stopping)
                if time.monotonic() > check_at:
                    if events.has_changed():
                        return
                    check_at = time.monotonic() + CHECK_TOPIC_S

    def _starting_points(self, events: ports.EventLog) -> Mapping[int, int]:
        key = {"reader": self._route.reader, "topic_id": events.topic_id}
        stored = self._positions.load(**key)
        chosen = starting_points.choose(stored=stored, bounds=events.bounds())
        if chosen != stored:
            log.info("bridge.outbound.starting_points", **key, topic=self._route.topic, stored=stored, chosen=chosen)
            self._positions.reset(**key, next_offsets=chosen)
        return chosen

    def _pass_on(self, records: Sequence[messages.Record], *, topic_id: str, stopping: threading.Event) -> None:
        began = time.monotonic()
        wanted = list(self._announcements(records))
        delivered = self._deliver([announcement for _, announcement in wanted], stopping)
        kill_points.reached("bridge.after_delivery")
        passed = records if delivered == len(wanted) else records[: wanted[delivered][0]]
        next_offsets = {record.partition: record.offset + 1 for record in passed}
        self._keep_trying(
            lambda: self._positions.advance(reader=self._route.reader, topic_id=topic_id, next_offsets=next_offsets),
            what="postgres",
            stopping=stopping,
        )
        duration_s = time.monotonic() - began
        self._signals.passed_on(self._route.reader, [records[index] for index, _ in wanted[:delivered]], duration_s)
        log.info(
            "bridge.outbound.passed_on",
            reader=self._route.reader,
            topic=self._route.topic,
            next_offsets=next_offsets,
            events=delivered,
            passed_over=len(passed) - delivered,
            duration_ms=round(1000 * duration_s, 1),
        )

    def _deliver(self, announcements: Sequence[ports.Announcement], stopping: threading.Event) -> int:
        done = 0
        while done < len(announcements):
            deliver = functools.partial(self._sink.deliver, announcements[done:])
            count = self._keep_trying(deliver, what=self._route.reader, stopping=stopping)
            done += count or 0
            if stopping.is_set():
                break
        return done

    def _announcements(self, records: Sequence[messages.Record]) -> Iterator[tuple[int, ports.Announcement]]:
        for index, record in enumerate(records):
            headers = dict(record.headers)
            if messages.RESENT not in headers:
                event = self._event(record)
                if event is not None:
                    own = headers.get(messages.CE_ID)
                    where = f"{record.topic_id}/{record.partition}/{record.offset}"
                    yield index, ports.Announcement(own.decode(errors="replace") if own else where, event)

    def _event(self, record: messages.Record) -> external_events.ExternalEvent | None:
        try:
            return self._decode(record)
        except outside.UnreadableValue as error:
            log.warning(
                "bridge.outbound.unreadable",
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                reason=error.reason,
                error=str(error),
            )
            return None

    def _decode(self, record: messages.Record) -> external_events.ExternalEvent:
        if record.value is None:
            raise outside.UnreadableValue("null_value", "a null is no event")
        fields = self._deserializer.deserialize(self._route.record_name, record.value)
        return _EVENTS[self._route.record_name](**fields)
