"""Go on through outages: try again with growing pauses, until it works or the bridge is to stop."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from allocation.service_layer import ports as outside

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

log = structlog.get_logger()

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0  # a service that is back is noticed about as soon as a person would notice it

Result = TypeVar("Result")


class Pauses:
    """How long to wait before the next attempt at one thing, and how loud to be: once is enough for one outage."""

    def __init__(self, what: str, *, tell: Callable[[str], None] = lambda _problem: None) -> None:
        self._what = what
        self._tell = tell
        self._next_s = FIRST_PAUSE_S
        self._level = logging.WARNING

    def after(self, error: outside.Retryable, **details: object) -> float:
        """Log why an attempt failed; return the pause in seconds, twice as long as the last one, up to a limit."""
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, LONGEST_PAUSE_S)
        self._tell(f"{self._what}: {error}")
        log.log(self._level, "bridge.retry", what=self._what, error=str(error), pause_s=pause_s, **details)
        self._level = logging.DEBUG
        return pause_s

    def reset(self) -> None:
        """Begin anew: the last attempt has succeeded."""
        self._next_s = FIRST_PAUSE_S
        self._level = logging.WARNING


def keep_trying(
    action: Callable[[], Result],
    *,
    what: str,
    stopping: threading.Event,
    tell: Callable[[str], None] = lambda _problem: None,
) -> Result | None:
    """Call `action` until it does not raise `Retryable`, at least once; None if it is to stop before.

    An action that went on for long before it failed begins with the shortest pause again. `tell` hears each problem.
    """
    pauses = Pauses(what, tell=tell)
    while True:
        began = time.monotonic()
        try:
            return action()
        except outside.Retryable as error:
            if time.monotonic() - began > LONGEST_PAUSE_S:
                pauses.reset()
            if stopping.wait(pauses.after(error)):
                return None
