"""Stop cleanly at SIGTERM or Ctrl-C: the work in hand is finished first.

A second signal ends the process at once; that is as safe, since every guarantee holds under SIGKILL.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def on_signal(*, at_second: Callable[[], object] = lambda: None) -> threading.Event:
    """Return an event that is set at the first signal; to be called from the main thread.

    `at_second` is called when the process ends at a second one, and must be quick.
    """
    stopping = threading.Event()

    def stop(number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            at_second()
            os._exit(128 + number)
        stopping.set()

    for number in SIGNALS:
        signal.signal(number, stop)
    return stopping
