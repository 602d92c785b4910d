"""The calls of those who run the service: is it alive, can it do its work, what has it done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import fastapi
import prometheus_client
from fastapi import responses

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from allocation.entrypoints.http_api import metrics, parts

router = fastapi.APIRouter(tags=["operation"])

# Short: whoever probes gives up after a few seconds, often after one.
_PROBE_TIMEOUT_S = 2.0


@router.get("/healthz", response_class=responses.PlainTextResponse)
async def healthz() -> str:
    """Say that the process serves calls; it asks nobody else, so that a dead database restarts no API."""
    return "OK"


@router.get("/readyz", responses={503: {"description": "One of them does not answer"}})
def readyz(request: fastapi.Request) -> responses.JSONResponse:
    """Say whether the database and Kafka answer; the schema registry is not needed."""
    reads: parts.Reads = request.state.reads
    log: parts.CommandLog = request.state.log
    state = {
        "database": _probe(reads.check),
        "kafka": _probe(lambda: log.check(timeout_s=_PROBE_TIMEOUT_S)),
    }
    return responses.JSONResponse(state, 200 if set(state.values()) == {"ok"} else 503)


def _probe(check: Callable[[], None]) -> str:
    try:
        check()
    except ports.Retryable as error:
        return str(error)
    return "ok"


@router.get("/metrics", response_class=responses.PlainTextResponse)
def metrics_text(request: fastapi.Request) -> responses.Response:
    """Return the metrics of this process in the Prometheus text format."""
    kept: metrics.Metrics = request.app.state.metrics
    return responses.Response(
        prometheus_client.generate_latest(kept.registry), media_type=prometheus_client.CONTENT_TYPE_PLAIN_0_0_4
    )
