"""The calls of those who run the service: is it alive, can it do its work, what has it done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import fastapi
import prometheus_client
from fastapi import responses

from allocation.entrypoints.http_api import running

if TYPE_CHECKING:
    from allocation.entrypoints.http_api import metrics

Excluded = Annotated[tuple[str, ...], fastapi.Query(description="Checks to leave out, such as `outbox`.")]

router = fastapi.APIRouter(tags=["operation"])


@router.get("/healthz", response_class=responses.PlainTextResponse)
async def healthz() -> str:
    """Say that the process serves calls; it asks nobody else, so that a dead database restarts no API."""
    return "OK"


@router.get("/readyz", responses={503: {"description": "Something is wrong; what is, is named"}})
def readyz(request: fastapi.Request, exclude: Excluded = ()) -> responses.JSONResponse:
    """Say what is wrong, of database, Kafka, schema registry and outbox.

    Calls are answered without a registry and without a relay, by all APIs or by none: who decides by this which API
    gets calls should leave these two out.
    """
    answer = running.of(request).look().without(exclude)
    return responses.JSONResponse(answer.body, answer.status)


@router.get("/metrics", response_class=responses.PlainTextResponse)
def metrics_text(request: fastapi.Request) -> responses.Response:
    """Return the metrics of this process in the Prometheus text format."""
    kept: metrics.Metrics = request.app.state.metrics
    return responses.Response(
        prometheus_client.generate_latest(kept.registry), media_type=prometheus_client.CONTENT_TYPE_PLAIN_0_0_4
    )
