"""Calls that wait for the outcomes of their commands, all looked up together.

One thread listens for the worker's hints and asks the database once for all that wait, so that the
cost does not grow with their number. A hint may be lost and a connection may break: it looks again
every quarter of a second whatever happens. It never decides that an outcome will not come: that is
for the caller's deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from typing import TYPE_CHECKING

import structlog

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from allocation import views
    from allocation.entrypoints.http_api import parts

# The safety net for lost hints: short against a caller's patience, long against a query's millisecond.
LOOK_INTERVAL_S = 0.25

_log = structlog.get_logger()


class Waiters:
    """The calls that wait, by command id; `expect` belongs to the event loop, `run` to a thread."""

    def __init__(
        self, *, look: Callable[[Collection[str]], Mapping[str, views.CommandOutcome]], hints: parts.Hints
    ) -> None:
        self._look = look
        self._hints = hints
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, list[asyncio.Future[views.CommandOutcome]]] = defaultdict(list)
        self._down = False

    def __len__(self) -> int:
        """Return how many commands are waited for."""
        return len(self._waiting)

    @contextlib.contextmanager
    def expect(self, commandid: str) -> Iterator[asyncio.Future[views.CommandOutcome]]:
        """Lend a future that holds the command's outcome once the worker has committed it."""
        future: asyncio.Future[views.CommandOutcome] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting[commandid].append(future)
        try:
            yield future
        finally:
            future.cancel()
            self._forget(commandid, future)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Look in a thread of its own until the block ends."""
        stopping = threading.Event()
        thread = threading.Thread(target=self.run, args=(stopping,), name="outcomes", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()

    def run(self, stopping: threading.Event) -> None:
        """Look at every hint and every interval until told to stop."""
        while not stopping.is_set():
            try:
                self._hints.wait(LOOK_INTERVAL_S)
                self._settle()
                self._note_up()
            except ports.Retryable as error:
                self._note_down(error)
                stopping.wait(LOOK_INTERVAL_S)
            except Exception:  # noqa: BLE001 - this thread's loop: said, and tried again; callers get their 202
                _log.exception("api.outcomes.failed")
                stopping.wait(LOOK_INTERVAL_S)

    def _settle(self) -> None:
        with self._lock:
            commandids = tuple(self._waiting)
        if not commandids:
            return
        for commandid, outcome in self._look(commandids).items():
            self._announce(commandid, outcome)

    def _announce(self, commandid: str, outcome: views.CommandOutcome) -> None:
        with self._lock:
            futures = tuple(self._waiting.get(commandid, ()))
        for future in futures:
            future.get_loop().call_soon_threadsafe(_resolve, future, outcome)

    def _forget(self, commandid: str, future: asyncio.Future[views.CommandOutcome]) -> None:
        with self._lock:
            self._waiting[commandid].remove(future)
            if not self._waiting[commandid]:
                del self._waiting[commandid]

    def _note_down(self, error: ports.Retryable) -> None:
        if not self._down:
            _log.warning("api.outcomes.unreachable", error=str(error))
        self._down = True

    def _note_up(self) -> None:
        if self._down:
            _log.info("api.outcomes.reachable")
        self._down = False


def _resolve(future: asyncio.Future[views.CommandOutcome], outcome: views.CommandOutcome) -> None:
    if not future.done():
        future.set_result(outcome)
