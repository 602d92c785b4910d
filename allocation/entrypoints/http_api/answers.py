"""What the calls answer: an outcome as a status and a body.

Every error body holds a `message` for people; those for malformed input name the field in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_never
from urllib.parse import quote

import pydantic
from fastapi import responses

from allocation import views  # noqa: TC001 - pydantic reads the annotations
from allocation.domain import commands
from allocation.entrypoints.http_api import submitting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allocation.service_layer import ports

# A refusal's stable word decides the status; 409 for those that only the state of things explains.
_STATUS_BY_REASON: Mapping[str | None, int] = {"invalid_sku": 400, "unknown_batch": 404, "invalid": 422}
_CONFLICT = 409
_RETRY = {"Retry-After": "1"}


class Problem(pydantic.BaseModel):
    """Why a call was not answered as hoped."""

    message: str


class BatchRef(pydantic.BaseModel):
    """The batch that serves a line; null when the line is out of stock."""

    batchref: str | None


class Accepted(pydantic.BaseModel):
    """The command is in Kafka and will be handled: ask `/commands/{commandid}` for the outcome."""

    commandid: str
    topic: str
    partition: int
    offset: int


class Outcome(pydantic.BaseModel):
    """What became of a command: `result` is an Allocate's batch; `reason` and `message` say why not, or why not yet."""

    commandid: str
    source: str
    status: views.Status
    topic: str
    partition: int
    offset: int
    result: str | None = None
    reason: str | None = None
    message: str | None = None


class Line(pydantic.BaseModel):
    """An allocated line of an order."""

    sku: str
    batchref: str
    qty: int


def problem(status: int, message: str, headers: Mapping[str, str] | None = None, **more: Any) -> responses.Response:
    """Return an error body with this message."""
    return responses.JSONResponse({"message": message, **more}, status, headers=headers)


def unavailable(message: str, **more: Any) -> responses.Response:
    """Return that something we need does not answer; worth another try soon."""
    return problem(503, message, _RETRY, **more)


def answer(command: commands.Command, answer: submitting.Answer) -> responses.Response:
    """Return what a POST answers."""
    match answer:
        case submitting.Settled(outcome):
            response = _settled(command, outcome)
        case submitting.Pending(commandid, at):
            response = responses.JSONResponse(_accepted(commandid, at).model_dump(), 202)
        case submitting.Reused(commandid):
            response = problem(422, f"Idempotency-Key: {commandid} belongs to a call with another body")
        case submitting.Untaken(commandid, error):
            response = unavailable(_untaken(commandid, error), commandid=commandid)
        case _:
            assert_never(answer)
    response.headers["Location"] = f"/commands/{quote(_commandid(answer), safe='')}"
    return response


def _settled(command: commands.Command, outcome: views.CommandOutcome) -> responses.Response:
    if outcome.status == "refused":
        return problem(_STATUS_BY_REASON.get(outcome.reason, _CONFLICT), outcome.error or "refused")
    if isinstance(command, commands.Allocate):
        return responses.JSONResponse(BatchRef(batchref=outcome.result).model_dump(), 201)
    return responses.PlainTextResponse("OK", 201)


def _accepted(commandid: str, at: ports.Coordinates) -> Accepted:
    return Accepted(commandid=commandid, topic=at.topic, partition=at.partition, offset=at.offset)


def _untaken(commandid: str, error: str) -> str:
    return (
        f"Kafka did not acknowledge command {commandid}: {error}. It may have been taken all the same; "
        f"the same call with the header Idempotency-Key: {commandid} is safe, and is done once"
    )


def _commandid(answer: submitting.Answer) -> str:
    return answer.outcome.id if isinstance(answer, submitting.Settled) else answer.commandid


def outcome(outcome: views.CommandOutcome) -> Outcome:
    """Return what `/commands/ID` answers: with the result, or with the reason why there is none (yet)."""
    known = Outcome(
        commandid=outcome.id,
        source=outcome.source,
        status=outcome.status,
        topic=outcome.topic,
        partition=outcome.partition,
        offset=outcome.offset,
    )
    if outcome.status == "handled":
        return known.model_copy(update={"result": outcome.result})
    return known.model_copy(update={"reason": outcome.reason, "message": outcome.error})
