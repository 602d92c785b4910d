"""Turn what the parts say of messages into spans, by OpenTelemetry's conventions for messaging.

    sender's span
    ├─ process allocate          the worker's micro-batch, until its commit
    │  ├─ outbox wait            from the event's time until a pass of the relay took it
    │  └─ send line_allocated    the pass; its id is in the event's `traceparent`
    │     └─ publish …           the bridge, or the span of whoever else consumes the event
    └─ send allocation.dead_letter, if it was refused

Who was refused or failed has an error, by its stable word or the class of what was raised.

Never raises, whatever stands in the headers of others: what is no trace is passed over. Names no data of
customers: neither keys nor values.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry.trace import SpanKind

from allocation.adapters.opentelemetry import spans
from allocation.domain import commands
from allocation.service_layer import messages, reading, signals, traces

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from allocation.service_layer import reporting
    from allocation.service_layer.relaying import ports as relaying

_NS = 1_000_000_000
_TRACED = f'["{messages.TRACEPARENT}", '  # as it stands in an outbox row
_DEAD_LETTER_TIME = "dead_letter_time"
# What the bridge does with an event, where its reader has a word of its own for that.
_DOES = {"redis": "publish", "email": "mail"}

_Attributes = dict[str, str | int]


class _Problem(NamedTuple):
    """A message that was refused, or fails; `kind` is what the conventions call the type of an error."""

    message: messages.Message
    kind: str
    error: str
    is_final: bool


class WorkerSpans(signals.Signals):
    """Hears a worker."""

    def __init__(self, found: spans.Spans, *, group: str) -> None:
        self._spans = found
        self._group = group

    def handled(
        self, records: Sequence[messages.Record], reports: Sequence[reporting.Report], duration_s: float
    ) -> None:
        """Add a span for each record; those of a micro-batch have the same times, for they share a transaction."""
        times_ns = _until_now(duration_s)
        problems = {_place(problem.message.record): problem for report in reports for problem in _problems(report)}
        for record in records:
            problem = problems.pop(_place(record), None) if problems else None
            self._process(record, times_ns, len(records), problem)
        for problem in problems.values():
            self._end_waiting(problem)

    def expired(self, report: reporting.Report) -> None:
        """Add a span for each command whose grace was over, or that failed when its time had come."""
        for problem in _problems(report):
            self._end_waiting(problem)

    def _process(self, record: messages.Record, times_ns: tuple[int, int], size: int, problem: _Problem | None) -> None:
        headers = dict(record.headers)
        given = traces.read(headers.get(messages.TRACEPARENT))
        if given and self._spans.leave_out(given):
            return
        identity, _, _ = reading.identity(record, headers)
        trace = given or traces.of_command(identity, None)
        # A command that was refused may come again: the id that others know belongs to the attempt that has events.
        own = 0 if problem and problem.is_final else spans.of_handling(trace, identity.id.encode())
        attributes = self._attributes(record) | {"messaging.message.id": identity.id, "allocation.batch_size": size}
        self._add(
            f"process {record.topic}", SpanKind.CONSUMER, spans.below(trace, own=own), times_ns, attributes, problem
        )

    def _end_waiting(self, problem: _Problem) -> None:
        """Add a span for a command that was taken in before, and waited."""
        message = problem.message
        trace = traces.of_command(message.id, message.traceparent)
        parent = spans.of_handling(trace, message.id.id.encode())
        place = spans.below(trace)._replace(parent=parent)
        name = f"{'refuse' if problem.is_final else 'fail'} {message.record.topic}"
        self._add(name, SpanKind.INTERNAL, place, _until_now(0.0), self._attributes(message.record), problem)

    def _add(
        self,
        name: str,
        kind: SpanKind,
        place: spans.Place,
        times_ns: tuple[int, int],
        attributes: _Attributes,
        problem: _Problem | None,
    ) -> None:
        if problem is None:
            self._spans.add(name, kind, place, times_ns, attributes)
        else:
            attributes["error.type"] = problem.kind
            self._spans.add(name, kind, place, times_ns, attributes, problem=problem.error)

    def _attributes(self, record: messages.Record) -> _Attributes:
        return _of_kafka("process", record.topic) | {
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self._group,
        }


class RelaySpans(signals.Signals):
    """Hears a relay; on `event_topics` lies what the worker announces, elsewhere what others sent at first."""

    def __init__(self, found: spans.Spans, *, event_topics: Collection[str]) -> None:
        self._spans = found
        self._event_topics = frozenset(event_topics)

    def relayed(self, rows: Sequence[relaying.Row], duration_s: float) -> None:
        """Add two spans for each row that belongs to a trace: its wait, and the pass that sent it."""
        times_ns = _until_now(duration_s)
        for row in rows:
            if _TRACED in row[5]:
                self._relayed(row[1], dict(json.loads(row[5])), times_ns, len(rows))

    def _relayed(self, topic: str, headers: Mapping[str, str | None], times_ns: tuple[int, int], size: int) -> None:
        trace = traces.read(_bytes(headers.get(messages.TRACEPARENT)))
        if trace is None or self._spans.leave_out(trace):
            return
        # An event that is announced again is not the one that is named in its headers.
        is_event = topic in self._event_topics and messages.RESENT not in headers
        place = _of_event(trace, headers) if is_event else spans.below(trace)
        own = _message_id(_bytes(headers.get(messages.CE_ID)))
        attributes = _of_kafka("send", topic) | own | {"allocation.batch_size": size}
        is_kept = self._spans.add(f"send {topic}", SpanKind.PRODUCER, place, times_ns, attributes)
        since_ns = _ns(headers.get(messages.CE_TIME if is_event else _DEAD_LETTER_TIME)) if is_kept else None
        if since_ns is not None:
            waited_ns = (min(since_ns, times_ns[0]), times_ns[0])  # clocks differ
            own["messaging.destination.name"] = topic
            self._spans.add("outbox wait", SpanKind.INTERNAL, place._replace(own=0), waited_ns, own)


class BridgeSpans(signals.Signals):
    """Hears a bridge."""

    def __init__(self, found: spans.Spans) -> None:
        self._spans = found

    def forwarded(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        """Add the first span of the trace of each command that came from Redis."""
        now_ns = time.time_ns()
        for message in outgoing:
            headers = dict(message.headers)
            trace = traces.read(headers.get(messages.TRACEPARENT))
            if trace is not None:  # a dead letter has none
                began_ns = _ns((headers.get(messages.CE_TIME) or b"").decode())
                times_ns = (now_ns if began_ns is None else began_ns, now_ns)
                place = spans.root(trace, int(trace.span, 16))
                attributes = _of_kafka("send", message.topic) | _message_id(headers.get(messages.CE_ID))
                self._spans.add(f"send {message.topic}", SpanKind.PRODUCER, place, times_ns, attributes)

    def passed_on(self, reader: str, events: Sequence[messages.Record], duration_s: float) -> None:
        """Add a span below the one in which each event was sent."""
        times_ns = _until_now(duration_s)
        does = _DOES.get(reader, "send")
        for event in events:
            headers = dict(event.headers)
            trace = traces.read(headers.get(messages.TRACEPARENT))
            if trace is not None and not self._spans.leave_out(trace):
                attributes = _of(reader, does, event.topic) | _message_id(headers.get(messages.CE_ID))
                attributes["messaging.destination.partition.id"] = str(event.partition)
                attributes["messaging.kafka.offset"] = event.offset
                name = f"{does} {event.topic}"
                self._spans.add(name, SpanKind.PRODUCER, spans.below(trace), times_ns, attributes)


def _of_event(trace: traces.Trace, headers: Mapping[str, str | None]) -> spans.Place:
    """Return the place that the event's headers promise to whoever consumes it."""
    cause = _bytes(headers.get(messages.CE_CAUSATIONID)) or b""
    return spans.below(trace)._replace(parent=spans.of_handling(trace, cause), own=int(trace.span, 16))


def _of(system: str, operation: str, destination: str) -> _Attributes:
    return {
        "messaging.system": system,
        "messaging.destination.name": destination,
        "messaging.operation.name": operation,
        "messaging.operation.type": "process" if operation == "process" else "send",
    }


def _of_kafka(operation: str, topic: str) -> _Attributes:
    return _of("kafka", operation, topic)


def _message_id(own: bytes | None) -> _Attributes:
    return {"messaging.message.id": own[: commands.MAX_ID_BYTES].decode(errors="replace")} if own else {}


def _problems(report: reporting.Report) -> Iterable[_Problem]:
    for message, reason, error in report.refusals:
        yield _Problem(message, reason, error, is_final=True)
    for message, failure in report.poisoned:
        yield _Problem(message, failure.error_class or "failed", failure.error, is_final=False)


def _place(record: messages.Record) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


def _until_now(duration_s: float) -> tuple[int, int]:
    now = time.time_ns()
    return now - int(duration_s * _NS), now


def _ns(text: str | None) -> int | None:
    """Return a time as Unix time; None if it is none, for a sender may have given it."""
    try:
        return max(int(datetime.fromisoformat(text or "").timestamp() * _NS), 0)
    except (ValueError, OverflowError):
        return None


def _bytes(text: str | None) -> bytes | None:
    """Return what a header held, of the text that the outbox keeps it as."""
    return None if text is None else text.encode("latin-1")
