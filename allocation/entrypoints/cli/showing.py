"""`allocation show order | sku | batch`: what happened to it, because of which command, and how it stands."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allocation.entrypoints.cli import failures, printing, starting, times

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.service_layer.operations import history as operation

EXAMPLES = """
Examples:

    allocation show order order-17
    allocation show sku LAMP --at 2030-01-31T08:00+01:00
    allocation show batch batch-3 --json
"""

app = typer.Typer(
    no_args_is_help=True,
    help="Tell what happened to an order, sku or batch, and because of which command.",
    epilog=EXAMPLES,
)

At = Annotated[
    datetime | None,
    typer.Option("--at", parser=times.moment, metavar="TIME", help=f"As of this time, {times.HELP}."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="The last N steps only.")]


@app.command()
def order(
    orderid: Annotated[str, typer.Argument(metavar="ORDERID")],
    *,
    sku: Annotated[
        str | None, typer.Option("--sku", metavar="SKU", help="Its lines of this sku only: much less is read then.")
    ] = None,
    at: At = None,
    limit: Limit = None,
    as_json: printing.AsJson = False,
) -> None:
    """Show the lines of an order: which batch serves each, and how it came to that."""
    _show("order", orderid, sku=sku, at=at, limit=limit, as_json=as_json)


@app.command()
def sku(
    sku: Annotated[str, typer.Argument(metavar="SKU")],
    *,
    at: At = None,
    limit: Limit = None,
    as_json: printing.AsJson = False,
) -> None:
    """Show a sku: its batches, its lines, and every step."""
    _show("sku", sku, at=at, limit=limit, as_json=as_json)


@app.command()
def batch(
    ref: Annotated[str, typer.Argument(metavar="BATCHREF")],
    *,
    at: At = None,
    limit: Limit = None,
    as_json: printing.AsJson = False,
) -> None:
    """Show a batch: how full it is, and which lines came and went."""
    _show("batch", ref, at=at, limit=limit, as_json=as_json)


def _show(
    kind: str, id_: str, *, at: datetime | None, limit: int | None, as_json: bool, sku: str | None = None
) -> None:
    """Read the topics and print; the exit code is 1 when nothing is known of it."""
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should
    from allocation.entrypoints.cli import picturing  # noqa: PLC0415 - likewise
    from allocation.service_layer.operations import history as operation  # noqa: PLC0415 - likewise

    settings = starting.settings()
    with printing.progress_bar() as on_progress, bootstrap.history(settings, on_progress) as maker:
        found = maker.make(operation.Subject(kind, id_, sku))
    if as_json:
        printing.print_line(as_dict(found, until=at))
    for note in () if as_json else found.notes:
        typer.echo(f"allocation: {note}", err=True)
    if not found.steps(until=at):
        by_then = "" if at is None else f" by {at.isoformat()}"
        failures.give_up(f"no command that names {kind} {id_} is on the topics{by_then}")
    if not as_json:
        picturing.draw(found, until=at, limit=limit or printing.LIST_LENGTH)


def as_dict(found: operation.History, *, until: datetime | None) -> dict[str, Any]:
    """Return a history in the form of the `--json` output; times in UTC."""
    state = found.state(until=until)
    return {
        found.subject.kind: found.subject.id,
        "at": None if until is None else until.isoformat(),
        "batches": [
            {
                "batchref": one.reference,
                "sku": one.sku,
                "eta": one.eta and one.eta.isoformat(),
                "purchased": one.purchased,
                "allocated": one.allocated,
            }
            for one in state.batches.values()
        ],
        "lines": [
            *(
                {**line._asdict(), "batchref": batchref, "state": "allocated"}
                for line, batchref in state.placed.items()
            ),
            *({**line._asdict(), "batchref": None, "state": word} for line, word in state.unplaced.items()),
        ],
        "steps": _steps(found.steps(until=until)),
        "notes": list(found.notes),
    }


def _steps(steps: Sequence[operation.Step]) -> list[dict[str, Any]]:
    return [
        {
            "at": step.at.isoformat(),
            "what": step.what,
            "sku": step.sku,
            "line": step.line and step.line._asdict(),
            "batchref": step.batchref,
            "qty": step.qty,
            "event": step.place or None,
            "detail": step.detail or None,
            "command": {
                "id": step.cause.id,
                "source": step.cause.source,
                "text": step.cause.text,
                "topic": step.cause.topic or None,
                "partition": step.cause.partition if step.cause.topic else None,
                "offset": step.cause.offset if step.cause.topic else None,
                "sent_at": step.cause.sent_at and step.cause.sent_at.isoformat(),
            },
        }
        for step in steps
    ]
