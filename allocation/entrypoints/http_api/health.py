"""The calls of those who run the service: is it alive, can it do its work, what has it done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import fastapi
import prometheus_client
from fastapi import responses

from allocation.entrypoints.http_api import running
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from allocation.entrypoints.http_api import metrics

router = fastapi.APIRouter(tags=["operation"])

# Short: whoever probes gives up after a few seconds, often after one.
_PROBE_TIMEOUT_S = 2.0


@router.get("/healthz", response_class=responses.PlainTextResponse)
async def healthz() -> str:
    """Say that the process serves calls; it asks nobody else, so that a dead database restarts no API."""
    return "OK"


@router.get("/readyz", responses={503: {"description": "One of them does not answer"}})
async def readyz(request: fastapi.Request) -> responses.JSONResponse:
    """Say whether the database and Kafka answer; the schema registry is not needed."""
    api = running.of(request)
    database, kafka = await asyncio.gather(
        _probe(api.read(lambda reads: reads.check(), timeout_s=_PROBE_TIMEOUT_S)),
        _probe(api.check_kafka(timeout_s=_PROBE_TIMEOUT_S)),
    )
    is_ready = database == kafka == "ok"
    return responses.JSONResponse({"database": database, "kafka": kafka}, 200 if is_ready else 503)


async def _probe(check: Awaitable[None]) -> str:
    try:
        await check
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
