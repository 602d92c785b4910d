"""Go on through outages: try again with growing pauses, until it works or the bridge is to stop."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from allocation.service_layer import ports

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

log = structlog.get_logger()

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 3.0  # a service that is back is noticed about as soon as a person would notice it

Result = TypeVar("Result")


class Pauses:
    """How long to wait before each next attempt."""

    def __init__(self) -> None:
        self._next_s = FIRST_PAUSE_S

    def next_s(self) -> float:
        """Return the pause in seconds, twice as long as the last one, up to a limit."""
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, LONGEST_PAUSE_S)
        return pause_s

    def reset(self) -> None:
        """Begin with the shortest pause again."""
        self._next_s = FIRST_PAUSE_S


def keep_trying(action: Callable[[], Result], *, what: str, stopping: threading.Event) -> Result | None:
    """Call `action` until it does not raise `Retryable`, at least once; None if it is to stop before.

    An action that went on for long before it failed begins with the shortest pause again.
    """
    pauses = Pauses()
    level = logging.WARNING
    while True:
        began = time.monotonic()
        try:
            return action()
        except ports.Retryable as error:
            if time.monotonic() - began > LONGEST_PAUSE_S:
                pauses.reset()
                level = logging.WARNING
            pause_s = pauses.next_s()
            log.log(level, "bridge.retry", what=what, error=str(error), pause_s=pause_s)
            level = logging.DEBUG  # once is enough for one outage
            if stopping.wait(pause_s):
                return None
