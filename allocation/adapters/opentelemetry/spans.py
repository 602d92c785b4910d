"""Make a span of what is over, at a place in its trace that is known beforehand.

Ids that follow from what is in the headers need not be handed on: each part computes those of the
spans that another part makes. The SDK decides what is kept, and limits and exports it.
"""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry import context, trace
from opentelemetry.sdk.trace import id_generator, sampling

from allocation.service_layer import traces

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk import trace as sdk

_NONE = 0  # no valid id
_RANDOM = id_generator.RandomIdGenerator()


class Place(NamedTuple):
    """Where a span belongs; without `parent` it is the trace's root, without `own` its id is made at random."""

    trace: int
    flags: int
    parent: int = _NONE
    own: int = _NONE


class GivenIds(id_generator.IdGenerator):
    """Gives out the ids that were laid ready in the same thread, once, and random ones after that."""

    def __init__(self) -> None:
        self._ready = threading.local()

    def lay_ready(self, place: Place) -> None:
        """Take the ids of the next span."""
        self._ready.trace, self._ready.span = place.trace, place.own

    def generate_trace_id(self) -> int:
        """Return the one that is ready."""
        given: int = getattr(self._ready, "trace", _NONE)
        self._ready.trace = _NONE
        return given or _RANDOM.generate_trace_id()

    def generate_span_id(self) -> int:
        """Return the one that is ready."""
        given: int = getattr(self._ready, "span", _NONE)
        self._ready.span = _NONE
        return given or _RANDOM.generate_span_id()


class Spans:
    """Adds spans to traces; threads may share it. Nothing blocks: export goes on in a thread of its own."""

    def __init__(self, provider: sdk.TracerProvider, ids: GivenIds, *, scope: str) -> None:
        self._tracer = provider.get_tracer(scope)
        self._ids = ids
        self._obeys_senders = isinstance(provider.sampler, sampling.ParentBased)

    def leave_out(self, place: traces.Trace) -> bool:
        """Tell whether a sender has decided that nothing is kept, in a tenth of the time that a span would take."""
        return self._obeys_senders and bool(place.span) and place.flags[-1] not in traces.SAMPLED

    def add(
        self,
        name: str,
        kind: trace.SpanKind,
        place: Place,
        times_ns: tuple[int, int],
        attributes: Mapping[str, str | int],
        *,
        problem: str | None = None,
    ) -> bool:
        """Add what began and ended at these times (Unix time); tell whether it is kept. A `problem` is an error."""
        around = context.Context()
        if place.parent:
            parent = trace.SpanContext(
                place.trace, place.parent, is_remote=True, trace_flags=trace.TraceFlags(place.flags)
            )
            around = trace.set_span_in_context(trace.NonRecordingSpan(parent), around)
        began, ended = times_ns
        self._ids.lay_ready(place)
        span = self._tracer.start_span(name, around, kind, attributes, start_time=min(began, ended))
        if problem is not None:
            span.set_status(trace.StatusCode.ERROR, problem)
        is_kept = span.is_recording()
        span.end(ended)
        return is_kept


def root(place: traces.Trace, own: int) -> Place:
    """Return the place of the first span of a trace."""
    return Place(int(place.id, 16), int(place.flags, 16), own=own)


def below(place: traces.Trace, *, own: int = _NONE) -> Place:
    """Return a place below the span that the header names, or the first of the trace where it names none."""
    return Place(int(place.id, 16), int(place.flags, 16), int(place.span or b"0", 16), own)


def of_handling(place: traces.Trace, cause: bytes) -> int:
    """Return the id of the span in which a command was handled: its trace and its id are in each event of it."""
    return int.from_bytes(hashlib.blake2b(place.id + b"\n" + cause, digest_size=8).digest(), "big") or 1
