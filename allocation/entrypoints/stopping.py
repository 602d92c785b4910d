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
    heard, told = os.pipe()
    os.set_blocking(told, False)
    threading.Thread(target=_listen, args=(heard, stopping, at_second), name="signals", daemon=True).start()
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, _leave_it_to_the_thread)
    return stopping


def _listen(heard: int, stopping: threading.Event, at_second: Callable[[], object]) -> None:
    """Take the number of each signal as it comes, also while the main thread waits in a library of C."""
    while True:
        for number in os.read(heard, 16):
            if number not in SIGNALS:
                continue
            if stopping.is_set():
                at_second()
                os._exit(128 + number)
            stopping.set()


def _leave_it_to_the_thread(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: Python calls this in the main thread, and only when that is back from the database, say."""
