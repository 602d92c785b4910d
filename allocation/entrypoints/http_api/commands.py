"""The calls that send a command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import fastapi
from fastapi import responses

from allocation.domain import commands
from allocation.entrypoints.http_api import answers, bodies, running, submitting

if TYPE_CHECKING:
    from collections.abc import Mapping

router = fastapi.APIRouter(tags=["commands"])

_KEY = "Idempotency-Key"
# Visible ASCII: what a header, a URL and a log line all take as it is.
_VISIBLE = re.compile(r"[\x21-\x7e]+")
# W3C trace context, level 1; anything else begins a trace of its own.
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_RESPONSES: Mapping[int | str, dict[str, Any]] = {
    202: {"model": answers.Accepted, "description": "In Kafka; no outcome within the time that a call waits"},
    400: {"model": answers.Problem, "description": "A malformed body or Idempotency-Key"},
    409: {"model": answers.Problem, "description": "Contradicts what is already known"},
    413: {"model": answers.Problem, "description": "The body is too large"},
    422: {
        "model": answers.Problem,
        "description": "A field holds what no command may have, or the key was used before",
    },
    503: {"model": answers.Problem, "description": "Kafka did not acknowledge the command in time"},
}
# `fastapi.Response` as the response class of those that answer it: errors are JSON all the same.
_OK: dict[str, Any] = {"description": "Done", "content": {"text/plain": {"schema": {"const": "OK"}}}}


def _caller(
    request: fastapi.Request,
    key: Annotated[
        str | None,
        fastapi.Header(alias=_KEY, description="becomes the command's id: the same call again is done once"),
    ] = None,
) -> submitting.Caller:
    if key is not None:
        _check_key(request.headers.getlist(_KEY))
    trace = request.headers.get("traceparent", "")
    return submitting.Caller(key=key, traceparent=trace if _TRACEPARENT.fullmatch(trace) else None)


def _check_key(values: list[str]) -> None:
    if len(values) != 1:
        raise fastapi.HTTPException(400, f"{_KEY}: given {len(values)} times; once is enough")
    if len(values[0]) > commands.MAX_ID_BYTES:
        raise fastapi.HTTPException(
            400, f"{_KEY}: is {len(values[0])} characters long; at most {commands.MAX_ID_BYTES}"
        )
    if not _VISIBLE.fullmatch(values[0]):
        raise fastapi.HTTPException(400, f"{_KEY}: {values[0]!r} must be visible ASCII characters without spaces")


Caller = Annotated[submitting.Caller, fastapi.Depends(_caller)]


@router.post("/add_batch", status_code=201, response_class=fastapi.Response, responses={**_RESPONSES, 201: _OK})
async def add_batch(body: bodies.NewBatch, caller: Caller, request: fastapi.Request) -> responses.Response:
    """Add a batch of stock."""
    return await _submit(body.command(), caller, request)


@router.post("/allocate", status_code=201, responses={**_RESPONSES, 201: {"model": answers.BatchRef}})
async def allocate(body: bodies.NewLine, caller: Caller, request: fastapi.Request) -> responses.Response:
    """Pick the batch that serves an order line; an unknown sku is 400."""
    return await _submit(body.command(), caller, request)


@router.post(
    "/change_batch_quantity",
    status_code=201,
    response_class=fastapi.Response,
    responses={**_RESPONSES, 201: _OK, 404: {"model": answers.Problem, "description": "No batch has this reference"}},
)
async def change_batch_quantity(
    body: bodies.NewQuantity, caller: Caller, request: fastapi.Request
) -> responses.Response:
    """Set the purchased quantity of a batch; lines that no longer fit are allocated again."""
    return await _submit(body.command(), caller, request)


async def _submit(command: commands.Command, caller: submitting.Caller, request: fastapi.Request) -> responses.Response:
    return answers.answer(command, await running.of(request).submitter.submit(command, caller))
