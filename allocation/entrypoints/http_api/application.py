"""The web application: routes, limits, error answers, documentation, joined."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import fastapi_offline
from starlette.middleware import Middleware

import allocation
from allocation.entrypoints.http_api import commands, health, limits, metrics, problems, queries, running, waiting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import fastapi
    from opentelemetry import trace

    from allocation.entrypoints.http_api import parts

_DESCRIPTION = "Each POST puts its command on Kafka and waits for what becomes of it."


def create(api: parts.Parts, *, traces: trace.TracerProvider | None = None) -> fastapi.FastAPI:
    """Return the application; its threads run between its start-up and its shutdown. Spans go to `traces`."""
    measures = metrics.Metrics()
    waiters = waiting.Waiters(look=api.reads.outcomes, hints=api.hints)
    measures.watch_waiting(waiters.__len__)
    measures.watch_checks(api.look)

    @contextlib.asynccontextmanager
    async def lifespan(_app: fastapi.FastAPI) -> AsyncIterator[Mapping[str, object]]:
        with running.opened(api, waiters) as opened:
            yield {"running": opened}

    middleware = [Middleware(metrics.Measured, metrics=measures), Middleware(limits.BodyLimit)]
    more: dict[str, Any] = {}
    if traces is not None:
        from allocation.entrypoints.http_api import tracing  # noqa: PLC0415 - loaded where it is wanted only

        middleware.append(Middleware(tracing.GoingOn))
        more["telemetry"] = tracing.telemetry(traces)
    app = _with_routes(lifespan=lifespan, middleware=middleware, **more)
    app.state.metrics = measures
    problems.register(app)
    return app


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document; nothing is opened for it."""
    return _with_routes().openapi()


def _with_routes(**more: Any) -> fastapi.FastAPI:
    # The documentation's own scripts come with the package: it works without the internet.
    app = fastapi_offline.FastAPIOffline(
        redoc_url=None, title="Allocation", description=_DESCRIPTION, version=allocation.__version__, **more
    )
    for router in (commands.router, queries.router, health.router):
        app.include_router(router)
    return app
