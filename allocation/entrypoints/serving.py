"""Serve a web application on a socket until told to stop; calls in hand are answered first."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import structlog
import uvicorn

from allocation.entrypoints import listening

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Iterator

    import fastapi

_log = structlog.get_logger()


class Server(uvicorn.Server):
    """Stops by the event that all parts share, not by signals of its own; `who` is its name in the log.

    `patience_s` is how long calls in hand may take after that.
    """

    def __init__(self, app: fastapi.FastAPI, stop: threading.Event, *, who: str, patience_s: float) -> None:
        self._stop = stop
        self._who = who
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="critical",  # what goes wrong is logged in our own form
                access_log=False,
                server_header=False,
                lifespan="on",
                ws="none",
                timeout_graceful_shutdown=math.ceil(patience_s),
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to whoever sets the event."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where it listens."""
        await super().startup(sockets)
        for sock in sockets or ():
            _log.info(f"{self._who}.listening", url=listening.url(sock))

    async def on_tick(self, counter: int) -> bool:
        """Tell uvicorn, ten times a second, whether to stop."""
        return self._stop.is_set() or await super().on_tick(counter)
