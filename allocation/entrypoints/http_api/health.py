"""The calls of those who run the service: is it alive, can it do its work, what has it done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import fastapi
import prometheus_client
from fastapi import responses

from allocation.entrypoints.http_api import running
from allocation.entrypoints.observing import readiness
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from allocation.entrypoints.http_api import metrics

router = fastapi.APIRouter(tags=["operation"])


@router.get("/healthz", response_class=responses.PlainTextResponse)
async def healthz() -> str:
    """Say that the process serves calls; it asks nobody else, so that a dead database restarts no API."""
    return "OK"


@router.get("/readyz", responses={503: {"description": "One of them does not answer"}})
async def readyz(request: fastapi.Request) -> responses.JSONResponse:
    """Say whether the database and Kafka answer; the schema registry is not needed."""
    api = running.of(request)
    database, kafka = await asyncio.gather(
        _probe(api.read(lambda reads: reads.check(), timeout_s=readiness.PATIENCE_S)),
        _probe(api.check_kafka(timeout_s=readiness.PATIENCE_S)),
    )
    answer = readiness.Answer({"database": database, "kafka": kafka})
    return responses.JSONResponse(answer.body, answer.status)


async def _probe(check: Awaitable[None]) -> readiness.Check:
    try:
        await check
    except ports.Retryable as error:
        return readiness.Check(" ".join(str(error).split()), is_well=False)
    return readiness.Check(readiness.OK, is_well=True)


@router.get("/metrics", response_class=responses.PlainTextResponse)
def metrics_text(request: fastapi.Request) -> responses.Response:
    """Return the metrics of this process in the Prometheus text format."""
    kept: metrics.Metrics = request.app.state.metrics
    return responses.Response(
        prometheus_client.generate_latest(kept.registry), media_type=prometheus_client.CONTENT_TYPE_PLAIN_0_0_4
    )
