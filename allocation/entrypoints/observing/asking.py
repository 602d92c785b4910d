"""Ask what may not answer, without hanging: whoever probes gives up after a few seconds, and asks again."""

from __future__ import annotations

import threading
import time
from concurrent import futures
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

GOOD_FOR_S = 1.0  # several who ask at once, or twice in a row, are told the same


class Question(Generic[_T]):
    """Asked in a thread of its own, and never twice at once; any thread may ask. An answer is good for `good_for_s`."""

    def __init__(self, ask: Callable[[], _T], *, good_for_s: float = GOOD_FOR_S) -> None:
        self._ask = ask
        self._good_for_s = good_for_s
        self._lock = threading.Lock()
        self._asked: futures.Future[_T] | None = None
        self._good_until = 0.0

    def asked(self) -> futures.Future[_T]:
        """Return where the answer will be; a fresh one is there already."""
        with self._lock:
            if self._asked is None or (self._asked.done() and time.monotonic() > self._good_until):
                self._asked = futures.Future()
                # A daemon: an answer that never comes must not keep the process from its end.
                threading.Thread(target=self._answer, args=(self._asked,), name="asking", daemon=True).start()
            return self._asked

    def _answer(self, into: futures.Future[_T]) -> None:
        try:
            found = self._ask()
        except Exception as error:  # noqa: BLE001 - it is raised where the answer is waited for
            self._good_until = time.monotonic() + self._good_for_s
            into.set_exception(error)
        else:
            self._good_until = time.monotonic() + self._good_for_s
            into.set_result(found)
