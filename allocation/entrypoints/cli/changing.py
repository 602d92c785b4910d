"""What the operator's commands share: who does it and why, times, and how lists are printed."""

from __future__ import annotations

import getpass
import json
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from allocation.service_layer.operations import audit

LIST_LENGTH = 50  # what fits some screens; --json prints all

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the audit.")]
Who = Annotated[
    str | None, typer.Option("--who", metavar="NAME", help="Who does it, for the audit.", show_default="USER@HOST")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for programs.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="The oldest N only.")]


def note(why: str, who: str | None) -> audit.Note:
    """Return what the audit is told; a reason must be given."""
    from allocation.service_layer.operations import audit  # noqa: PLC0415 - takes longer to load than `--help` should

    if not why.strip():
        raise typer.BadParameter("say why, for the audit", param_hint="--why")
    return audit.Note(_storable(who or f"{_user()}@{socket.gethostname()}"), _storable(why.strip()))


def moment(text: str | None, name: str) -> datetime | None:
    """Return the time that an option gives, in UTC unless it says otherwise; raises `BadParameter`."""
    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time, such as 2030-01-31T08:00+01:00", param_hint=name) from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def print_line(line: Mapping[str, Any]) -> None:
    """Print a JSON object on a line of its own."""
    typer.echo(json.dumps(line, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for people; no text is cut, whatever the terminal."""
    from rich import box, console, table  # noqa: PLC0415 - for people only

    shown = table.Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*("-" if value is None else _plain(str(value)) for value in row))
    console.Console(highlight=False).print(shown)


def duration(seconds: float) -> str:
    """Return a time span in its two largest units."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    parts = ((days, "d"), (h, "h"), (m, "min"), (s, "s"))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])


def _plain(text: str) -> Any:
    from rich import text as rich_text  # noqa: PLC0415 - see above

    return rich_text.Text(text)  # never markup: it comes from outside


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        return f"uid {os.getuid()}"


def _storable(text: str) -> str:
    """Return what the database can hold: bytes of the command line that are no UTF-8 are spelled out."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
