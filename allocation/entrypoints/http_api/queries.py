"""The calls that read: past the domain model, from what is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import fastapi

from allocation.entrypoints.http_api import answers, running

if TYPE_CHECKING:
    from collections.abc import Mapping

router = fastapi.APIRouter(tags=["reading"])

_RESPONSES: Mapping[int | str, dict[str, Any]] = {
    404: {"model": answers.Problem, "description": "Nothing is known of it"},
    503: {"model": answers.Problem, "description": "The database does not answer"},
    "default": {"model": answers.Problem, "description": "Anything else that went wrong"},
}


@router.get("/allocations/{orderid:path}", responses={**_RESPONSES})
async def allocations(orderid: str, request: fastapi.Request) -> list[answers.Line]:
    """Return the allocated lines of an order."""
    lines = await running.of(request).read(lambda reads: reads.allocations(orderid))
    if not lines:
        raise fastapi.HTTPException(404, f"no line of order {orderid!r} is allocated")
    return [answers.Line(sku=line.sku, batchref=line.batchref, qty=line.qty) for line in lines]


@router.get("/commands/{commandid:path}", responses={**_RESPONSES}, response_model_exclude_unset=True)
async def command(commandid: str, request: fastapi.Request) -> answers.Outcome:
    """Return what became of a command, whichever way it came in."""
    outcome = await running.of(request).read(lambda reads: reads.outcome(commandid))
    if outcome is None:
        raise fastapi.HTTPException(
            404, f"nothing is known of command {commandid!r}: it was not sent, or was not handled yet"
        )
    return answers.outcome(outcome)
