"""The web application of the console: the page, its figures as server-sent events, and the operations."""

from __future__ import annotations

import contextlib
import importlib.resources
from typing import TYPE_CHECKING, Annotated, Any

import fastapi
from fastapi import exceptions, responses, staticfiles
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from allocation.entrypoints.console import bodies, guard, operations, working
from allocation.entrypoints.http_api import answers, limits
from allocation.service_layer.operations.replay import targets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    from allocation.entrypoints.console import audience

_STATIC = importlib.resources.files(__package__) / "static"
MAX_PAGE = 500

router = fastapi.APIRouter(prefix="/api")

Text = Annotated[str, fastapi.Query(max_length=255)]
Id = Annotated[str, fastapi.Query(min_length=1, max_length=255)]


def create(
    watched: audience.Audience, asked: operations.Operations, *, names: Collection[str], token: str | None
) -> fastapi.FastAPI:
    """Return the application; `names` are its own, `token` is what allows changes (None: nothing does)."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: fastapi.FastAPI) -> AsyncIterator[dict[str, object]]:
        with contextlib.closing(working.Working(asked)) as opened:
            yield {"working": opened, "audience": watched}

    app = fastapi.FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        middleware=[Middleware(guard.Guard, names=names, token=token), Middleware(limits.BodyLimit)],
    )
    app.state.may_change = token is not None
    app.exception_handler(exceptions.RequestValidationError)(_malformed)
    app.exception_handler(HTTPException)(_refused)
    app.include_router(router)
    static: Any = _STATIC
    directory: Path = static
    app.mount("/", staticfiles.StaticFiles(directory=directory, html=True))
    return app


@router.get("/live")
async def live(request: fastapi.Request) -> responses.Response:
    """Send an overview each second."""
    watched: audience.Audience = request.state.audience
    if watched.is_full:
        return answers.unavailable("too many watch already")
    return responses.StreamingResponse(watched.frames(), media_type="text/event-stream")


@router.get("/console")
async def console(request: fastapi.Request) -> dict[str, bool]:
    """Tell the page whether there is a token at all."""
    return {"may_change": request.app.state.may_change}


@router.get("/stock")
async def stock(
    request: fastapi.Request,
    prefix: Text = "",
    first: Annotated[int, fastapi.Query(ge=0, le=2**31)] = 0,
    count: Annotated[int, fastapi.Query(ge=1, le=MAX_PAGE)] = 100,
) -> operations.Values:
    """Return a page of skus."""
    return await working.of(request).soon(lambda do: do.stock(prefix, first, count))


@router.get("/story")
async def story(
    request: fastapi.Request,
    kind: Annotated[str, fastapi.Query(pattern="^(order|sku|batch)$")],
    id: Id,  # noqa: A002 - the word in the address
    sku: Text = "",
) -> operations.Values:
    """Return what happened to an order, sku or batch."""
    return await working.of(request).at_length(lambda do: do.story(kind, id, sku or None))


@router.get("/dead-letters")
async def dead_letters(request: fastapi.Request, *, open: bool = True) -> operations.Values:  # noqa: A002 - likewise
    """Return the oldest dead letters."""
    return await working.of(request).at_length(lambda do: do.dead_letters(only_open=open))


@router.get("/parked")
async def parked(request: fastapi.Request) -> operations.Values:
    """Return the oldest parked commands."""
    return await working.of(request).soon(lambda do: do.parked())


@router.get("/plan")
async def plan(request: fastapi.Request, since: Text = "") -> operations.Values:
    """Return how far each log goes back, and what a replay from a time would read."""
    try:
        moment = targets.moment(since) if since else None
    except targets.BadTime as error:
        raise HTTPException(422, str(error)) from error
    return await working.of(request).soon(lambda do: do.plan(moment))


@router.get("/compare")
async def compare(
    request: fastapi.Request, schema: Annotated[str, fastapi.Query(min_length=1, max_length=63)]
) -> operations.Values:
    """Return what differs between the live tables and rebuilt ones."""
    return await working.of(request).at_length(lambda do: do.compare(schema))


@router.post("/token")
async def token() -> dict[str, bool]:
    """Say that the token is right: a call with another one does not come here."""
    return {"ok": True}


@router.post("/dead-letters/redrive")
async def redrive(request: fastapi.Request, body: bodies.Letters) -> operations.Values:
    """Send dead letters back to where they came from."""
    note = operations.note(body.why, body.who)
    return await working.of(request).at_length(lambda do: do.decide("redrive", body.chosen(), note))


@router.post("/dead-letters/discard")
async def discard_letters(request: fastapi.Request, body: bodies.Letters) -> operations.Values:
    """Note that nothing is to be done about dead letters."""
    note = operations.note(body.why, body.who)
    return await working.of(request).at_length(lambda do: do.decide("discard", body.chosen(), note))


@router.post("/parked/release")
async def release(request: fastapi.Request, body: bodies.Queue) -> operations.Values:
    """Try the commands of a queue again."""
    note = operations.note(body.why, body.who)
    return await working.of(request).at_length(lambda do: do.release(body.queue, note))


@router.post("/parked/discard")
async def discard_parked(request: fastapi.Request, body: bodies.Commands) -> operations.Values:
    """Send parked commands to the dead letters."""
    note = operations.note(body.why, body.who)
    return await working.of(request).at_length(lambda do: do.discard(body.ids, note))


async def _malformed(_request: fastapi.Request, error: exceptions.RequestValidationError) -> responses.Response:
    problems = (f"{'.'.join(map(str, one['loc'][1:])) or one['loc'][0]}: {one['msg']}" for one in error.errors())
    return answers.problem(422, "; ".join(problems))


async def _refused(_request: fastapi.Request, error: HTTPException) -> responses.Response:
    return answers.problem(error.status_code, str(error.detail), error.headers)
