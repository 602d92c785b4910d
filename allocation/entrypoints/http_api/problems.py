"""Turn whatever goes wrong in a call into an answer with a `message`; nothing shows a traceback to the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog
from fastapi import exceptions
from starlette.exceptions import HTTPException

from allocation.domain import refusal
from allocation.entrypoints.http_api import answers
from allocation.service_layer import ports

if TYPE_CHECKING:
    import fastapi
    from fastapi import responses

_UNPROCESSABLE = 422
_NOT_FOUND = 404

_log = structlog.get_logger()


def register(app: fastapi.FastAPI) -> None:
    """Answer these errors in our own form."""
    app.exception_handler(exceptions.RequestValidationError)(_malformed)
    app.exception_handler(refusal.Refusal)(_refused)
    app.exception_handler(HTTPException)(_http)
    app.exception_handler(ports.Retryable)(_down)
    app.exception_handler(Exception)(_unexpected)


async def _malformed(_request: fastapi.Request, error: exceptions.RequestValidationError) -> responses.Response:
    problems = [_without_input(problem) for problem in error.errors()]
    return answers.problem(_UNPROCESSABLE, "; ".join(map(_sentence, problems)), detail=problems)


def _without_input(problem: dict[str, Any]) -> dict[str, Any]:
    """Leave out the caller's own values: JSON cannot say all that Python read (NaN, lone surrogates)."""
    return {"type": problem["type"], "loc": list(problem["loc"]), "msg": _text(problem)}


def _text(problem: dict[str, Any]) -> str:
    if problem["type"] == "json_invalid":
        return f"not valid JSON at character {problem['loc'][-1]}: {problem['ctx']['error']}"
    if problem["type"] in ("model_attributes_type", "dict_type"):
        return "must be a JSON object, sent with Content-Type: application/json"
    return str(problem["msg"]).removeprefix("Value error, ")


def _sentence(problem: dict[str, Any]) -> str:
    fields = [str(part) for part in problem["loc"][1:] if problem["type"] != "json_invalid"]
    return f"{'.'.join(fields) or problem['loc'][0]}: {problem['msg']}"


async def _refused(_request: fastapi.Request, error: refusal.Refusal) -> responses.Response:
    detail = [{"type": error.reason, "loc": ["body"], "msg": str(error)}]
    return answers.problem(_UNPROCESSABLE, str(error), detail=detail)


async def _http(request: fastapi.Request, error: HTTPException) -> responses.Response:
    message = str(error.detail)
    if error.status_code == _NOT_FOUND and message == "Not Found":
        message = f"there is nothing at {request.url.path}; what there is stands at /docs"
    return answers.problem(error.status_code, message, error.headers)


async def _down(_request: fastapi.Request, error: ports.Retryable) -> responses.Response:
    return answers.unavailable(str(error))


async def _unexpected(request: fastapi.Request, error: Exception) -> responses.Response:
    _log.error("api.failed", method=request.method, path=request.url.path, exc_info=error)
    return answers.problem(500, "something failed that should not; the log of the API says what")
