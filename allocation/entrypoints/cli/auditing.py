"""`allocation audit`: what operators changed, when and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from allocation.entrypoints.cli import printing, starting, times

Since = Annotated[
    datetime | None,
    typer.Option("--since", parser=times.moment, metavar="TIME", help=f"From this time on, {times.HELP}."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="The newest N only.")]


def audit(*, since: Since = None, limit: Limit = None, as_json: printing.AsJson = False) -> None:
    """List what operators changed: when, who, what and why, the newest last."""
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    length = limit if as_json else (limit or printing.LIST_LENGTH)
    with bootstrap.audit_log(starting.settings()) as log:
        found = log.rows(since=since, limit=length)
    lines = [row._asdict() | {"at": row.at.isoformat()} for row in found]
    if as_json:
        for line in lines:
            printing.print_line(line)
        return
    names = ("at", "who", "what", "subject", "why")
    printing.print_table(names, [[line[name] for name in names] for line in lines])
    if limit is None and len(found) == length:
        typer.echo("there may be earlier ones; --limit N shows more, --json all", err=True)
