"""W3C trace context: the trace that a command belongs to, and how its events go on with it.

A command that brings no trace has one that follows from its identity, so that whoever sees it, or an event
of it, knows the same one without asking anybody.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from allocation.service_layer import messages

# Level 1. Of a later version the part that is known is used; ff, and zeros, are no trace.
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_ID, _SPAN, _FLAGS = slice(3, 35), slice(36, 52), slice(53, 55)


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


def _derived(id: messages.MessageId) -> Trace:  # noqa: A002 - CloudEvents' word
    return Trace(hashlib.blake2b("\n".join(id).encode(), digest_size=16).hexdigest().encode(), b"", b"01")
