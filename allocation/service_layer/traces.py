"""W3C trace context: the trace that a command belongs to, and how its events go on with it.

A command that brings no trace has one that follows from its identity, so that whoever sees it, or an event
of it, knows the same one without asking anybody.
"""

from __future__ import annotations

import hashlib
import itertools
import operator
import re
import uuid
from typing import TYPE_CHECKING, NamedTuple

from allocation.service_layer import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from allocation.service_layer.relaying import ports as relaying

# Level 1. Of a later version the part that is known is used; ff, and zeros, are no trace.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_ID, _SPAN, _FLAGS = slice(3, 35), slice(36, 52), slice(53, 55)
SAMPLED = b"13579bdf"  # the last digit of the flags: the lowest bit is set
_LAST_DIGIT = 54  # of the flags
_HEADER = f'["{messages.TRACEPARENT}", "'  # as it stands in an outbox row; no value there looks like it
_headers_of: Callable[[messages.Record], messages.Headers] = operator.attrgetter("headers")

# Of one log line: enough to find one, and a search of headers that is not felt, 0.15 µs for each message.
MAX_TOLD = 10
MAX_LOOKED_AT = 1000


class Trace(NamedTuple):
    """A place in a trace, in hexadecimal digits; `span` is empty where the trace begins with whoever looks."""

    id: bytes
    span: bytes
    flags: bytes


def begin() -> str:
    """Begin a trace at random."""
    return f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"


def read(traceparent: bytes | None) -> Trace | None:
    """Return what the header says; None where it says nothing that counts."""
    if traceparent and _TRACEPARENT.fullmatch(traceparent):
        return Trace(traceparent[_ID], traceparent[_SPAN], traceparent[_FLAGS])
    return None


def of_command(id: messages.MessageId, traceparent: bytes | None) -> Trace:  # noqa: A002 - CloudEvents' word
    """Return the trace of a command: its sender's, or the one that follows from its identity."""
    return read(traceparent) or _derived(id)


def of_event(message: messages.Message, event_id: bytes) -> bytes:
    """Return the header of an event: the command's trace, and a span that follows from the event's id."""
    given = message.traceparent
    if given and _TRACEPARENT.fullmatch(given):
        trace, flags = given[_ID], given[_FLAGS]
    else:
        trace, _, flags = _derived(message.id)
    return b"00-%b-%b%b-%b" % (trace, event_id[19:23], event_id[24:], flags)


def of_records(records: Sequence[messages.Record]) -> Sequence[str]:
    """Return the ids of traces that are kept by senders of these commands: a few, of the first that come with any."""
    headers = itertools.chain.from_iterable(map(_headers_of, records[:MAX_LOOKED_AT]))
    return _told(value for name, value in headers if name == messages.TRACEPARENT)


def of_rows(rows: Sequence[relaying.Row]) -> Sequence[str]:
    """Return those of rows of the outbox."""
    return _told(_in_row(row[5]) for row in rows[:MAX_LOOKED_AT])


def _told(traceparents: Iterable[bytes | None]) -> Sequence[str]:
    return list(itertools.islice(_different(traceparents), MAX_TOLD))


def _different(traceparents: Iterable[bytes | None]) -> Iterator[str]:
    told: set[bytes] = set()
    for value in traceparents:
        if value and len(value) > _LAST_DIGIT and value[_LAST_DIGIT] in SAMPLED:
            trace = read(value)
            if trace and trace.id not in told:
                told.add(trace.id)
                yield trace.id.decode()


def _in_row(headers: str) -> bytes | None:
    found = headers.rfind(_HEADER)  # it stands last, but for those of senders
    if found < 0:
        return None
    begin = found + len(_HEADER)
    return headers[begin : headers.index('"', begin)].encode("latin-1", "replace")


def _derived(id: messages.MessageId) -> Trace:  # noqa: A002 - CloudEvents' word
    return Trace(hashlib.blake2b("\n".join(id).encode(), digest_size=16).hexdigest().encode(), b"", b"01")
