"""Run the API until told to stop; calls in hand are answered first."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import structlog
import uvicorn

from allocation import bootstrap
from allocation.entrypoints import listening, stopping
from allocation.entrypoints.http_api import application, parts

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Iterator

    import fastapi

    from allocation import config

# What a call needs beyond its wait, so that none is cut off by the stop.
_STOP_MARGIN_S = 2

_log = structlog.get_logger()


def run(settings: config.Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; raises `CannotListen`, `DependencyDown` when it cannot start."""
    serve(settings, stopping.on_signal())


def serve(settings: config.Settings, stop: threading.Event) -> None:
    """Serve until `stop` is set."""
    remedy = "set ALLOCATION_HTTP_HOST and ALLOCATION_HTTP_PORT to an address that is free (port 0 finds one)"
    sock = listening.open_socket(settings.http_host, settings.http_port, who="the API", remedy=remedy)
    with sock, composed(settings) as api:
        _Server(application.create(api), stop, wait_s=settings.http_timeout_s).run([sock])
    _log.info("api.stopped")


@contextlib.contextmanager
def composed(settings: config.Settings) -> Iterator[parts.Parts]:
    """Open all that the API is made of; raises `DependencyDown` when the database does not answer."""
    with bootstrap.api(settings) as opened:
        yield parts.Parts(
            log=opened.log,
            envelopes=opened.envelopes,
            reads=parts.DatabaseReads(opened.connect),
            hints=opened.hints,
            timeout_s=settings.http_timeout_s,
        )


class _Server(uvicorn.Server):
    """Stops by the event that all parts share, not by signals of its own."""

    def __init__(self, app: fastapi.FastAPI, stop: threading.Event, *, wait_s: float) -> None:
        self._stop = stop
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                log_level="critical",  # what goes wrong is logged in our own form
                access_log=False,
                server_header=False,
                lifespan="on",
                ws="none",
                timeout_graceful_shutdown=math.ceil(wait_s) + _STOP_MARGIN_S,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for sock in sockets or ():
            _log.info("api.listening", url=listening.url(sock))

    async def on_tick(self, counter: int) -> bool:
        return self._stop.is_set() or await super().on_tick(counter)
