"""Do something in the background for as long as a block takes."""

from __future__ import annotations

import contextlib
import threading
from concurrent import futures
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def doing(*work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Do each in a thread of its own; it is to end when its event is set. What it raises is raised after the block."""
    done = threading.Event()
    with futures.ThreadPoolExecutor(len(work)) as pool:
        working = [pool.submit(one, done) for one in work]
        try:
            yield
        finally:
            done.set()
    for one in working:
        one.result()
