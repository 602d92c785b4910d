"""Wait for what happens elsewhere, with a deadline."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_S = 60.0  # for what takes milliseconds on a machine that has nothing else to do
_POLL_INTERVAL_S = 0.01


def wait_until(condition: Callable[[], bool], *, deadline_s: float = DEADLINE_S) -> None:
    """Return as soon as the condition holds; fail after the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {condition}"
        time.sleep(_POLL_INTERVAL_S)


def wait_until_equal(ask: Callable[[], object], expected: object, *, deadline_s: float = DEADLINE_S) -> None:
    """Return as soon as this is the answer; fail after the deadline, and say what the last answer was."""
    end = time.monotonic() + deadline_s
    while (found := ask()) != expected:
        assert time.monotonic() < end, f"not within {deadline_s:g} s: {found!r} is not {expected!r}"
        time.sleep(_POLL_INTERVAL_S)
