"""What is written down of an unexpected error: for people to read, and for programs to tell one bug from another.

The digest of the stack names the place without line numbers: it stays the same while the code around the bug changes,
and it is the same whether a command failed among others, alone, or when it was released.
"""

from __future__ import annotations

import hashlib
import traceback
from typing import TYPE_CHECKING, NamedTuple

from allocation.service_layer import messages

if TYPE_CHECKING:
    from types import FrameType

_OURS = "allocation."
# What leads to a handler, in one way or another: of these only the last frame counts.
_LEADS_THERE = frozenset(
    f"{_OURS}service_layer.{name}"
    for name in ("failure_policy", "processing", "settling", "draining", "grace", "operations.parked")
)
_DIGEST_BYTES = 6


class Failure(NamedTuple):
    """An error as text that can be stored, the name of its class, and the digest of its stack."""

    error: str
    error_class: str = ""
    stack: str = ""


class Poisoned(NamedTuple):
    """A message that is set aside, and how it fails."""

    message: messages.Message
    failure: Failure


def of(error: BaseException) -> Failure:
    """Return what is to be kept of an error that was caught."""
    kind = type(error).__name__
    return Failure(messages.sentence(f"{kind}: {error}"), kind, _digest(error))


def _digest(error: BaseException) -> str:
    kind = type(error)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if _module(frame).startswith(_OURS)]
    last = max((place for place, frame in enumerate(frames) if _module(frame) in _LEADS_THERE), default=0)
    names = [f"{_module(frame)}:{frame.f_code.co_qualname}" for frame in frames[last:]]
    content = "\n".join((f"{kind.__module__}.{kind.__qualname__}", *names))
    return hashlib.blake2b(content.encode(errors="backslashreplace"), digest_size=_DIGEST_BYTES).hexdigest()


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))
