"""Everybody who watches gets the same frames, made once: a hundred viewers cost the services what one costs.

Nothing is asked while nobody watches. Whoever is too slow misses frames, and is never waited for.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import threading
    from collections.abc import AsyncIterator, Callable

MAX_VIEWERS = 100

# Browsers that lost the connection come back after this.
_RETRY_MS = 2000


class Audience:
    """The viewers of one console; belongs to its event loop.

    `ask` asks for what is to be shown, and `look` returns that a little later; both return at once, and are called
    each `interval_s` while somebody watches.
    """

    def __init__(
        self,
        ask: Callable[[], None],
        look: Callable[[], dict[str, Any]],
        *,
        settle_s: float,
        interval_s: float,
        stop: threading.Event,
    ) -> None:
        self._ask = ask
        self._look = look
        self._settle_s = settle_s
        self._interval_s = interval_s
        self._stop = stop
        self._viewers: set[asyncio.Queue[str | None]] = set()
        self._newest: str | None = None
        self._showing: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        """Whether nobody else may watch."""
        return len(self._viewers) >= MAX_VIEWERS

    async def frames(self) -> AsyncIterator[str]:
        """Yield server-sent events until the console stops, the newest at once if others watch already."""
        viewer: asyncio.Queue[str | None] = asyncio.Queue(1)
        self._viewers.add(viewer)
        try:
            yield f"retry: {_RETRY_MS}\n\n"
            if self._showing is None or self._showing.done():
                self._showing = asyncio.create_task(self._show())
            elif self._newest is not None:
                yield self._newest
            while (frame := await viewer.get()) is not None:
                yield frame
        finally:
            self._viewers.discard(viewer)

    async def _show(self) -> None:
        while self._viewers and not self._stop.is_set():
            self._ask()
            await asyncio.sleep(self._settle_s)
            self._newest = frame("overview", self._look())
            self._give(self._newest)
            await asyncio.sleep(self._interval_s - self._settle_s)
        self._newest = None
        self._give(None)

    def _give(self, frame: str | None) -> None:
        for viewer in self._viewers:
            if viewer.full():
                viewer.get_nowait()
            viewer.put_nowait(frame)


def frame(event: str, data: dict[str, Any]) -> str:
    """Return a server-sent event; JSON without line breaks is one line of data, whatever it holds.

    Source: HTML Living Standard, section 9.2.6.
    """
    return f"event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
