"""Count and time the API's calls, and tell what its readiness finds; the metrics are described with all others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from allocation.adapters.prometheus import looking
from allocation.adapters.prometheus import metrics as described
from allocation.entrypoints.observing import figures

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from allocation.entrypoints.observing import readiness

# Paths that lead nowhere share one label: each would otherwise be a series for ever.
_NOWHERE = "(none)"

_log = structlog.get_logger()


class Metrics:
    """Counts and times calls by method, route and status."""

    def __init__(self) -> None:
        self.registry = described.new_registry()
        self.calls = described.CALLS.histogram(self.registry)
        self._waiting = described.AWAITED.gauge(self.registry)

    def watch_waiting(self, count: Callable[[], int]) -> None:
        """Ask `count` for the number of commands that are waited for."""
        self._waiting.set_function(count)

    def watch_checks(self, look: Callable[[], readiness.Answer]) -> None:
        """Ask `look` at each scrape how those are that the API needs."""
        self.registry.register(looking.Figures(look=lambda: figures.found(look())))


class Measured:
    """Middleware that measures every call."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on, and note its status and duration."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def noting_send(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        began = time.perf_counter()
        try:
            await self._app(scope, receive, noting_send)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", _NOWHERE)
        self._metrics.calls.labels(scope["method"], route, status).observe(seconds)
        _log.debug(
            "api.answered", method=scope["method"], route=route, status=status, duration_ms=round(seconds * 1000, 1)
        )
