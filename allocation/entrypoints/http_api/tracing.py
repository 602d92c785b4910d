"""A span for each call, made by the framework; the command goes on with its trace.

Loaded only where the environment asks for traces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.trace.propagation import tracecontext

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from fastapi.telemetry import TelemetryConfig
    from opentelemetry import trace
    from starlette.types import ASGIApp, Receive, Scope, Send

# Asked every few seconds by machines; none of them is a part of anybody's work.
_UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})
_HEADER = "traceparent"

_propagator = tracecontext.TraceContextTextMapPropagator()


def telemetry(provider: trace.TracerProvider) -> TelemetryConfig:
    """Return how the framework is to trace: calls as such, and nothing that we measure or log ourselves."""
    return {
        "tracer_provider": provider,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": _is_untraced,
    }


class GoingOn:
    """Middleware that puts the call's own span in the place of its caller's, for whoever reads the header."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the call on."""
        own: dict[str, str] = {}
        _propagator.inject(own)
        if _HEADER in own:
            name = _HEADER.encode()
            others = (header for header in scope["headers"] if header[0] != name)
            scope["headers"] = [*others, (name, own[_HEADER].encode())]
        await self._app(scope, receive, send)


def _is_untraced(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in _UNTRACED
