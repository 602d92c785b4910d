"""The metrics of one API process; in a registry of its own, so that two in one process do not collide."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import prometheus_client
import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# From a cached read to the longest wait for an outcome.
_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Paths that lead nowhere share one label: each would otherwise be a series for ever.
_NOWHERE = "(none)"

_log = structlog.get_logger()


class Metrics:
    """Counts and times calls by method, route and status."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        self.calls = prometheus_client.Histogram(
            "allocation_http_call_seconds",
            "How long calls took, from the first byte of the request to the last of the answer",
            ("method", "route", "status"),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._waiting = prometheus_client.Gauge(
            "allocation_http_waiting_commands",
            "Commands whose outcome is waited for",
            registry=self.registry,
        )

    def watch_waiting(self, count: Callable[[], int]) -> None:
        """Ask `count` for the number of commands that are waited for."""
        self._waiting.set_function(count)


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
