"""What the commands that change something share: who does it and why, and whether it is done."""

from __future__ import annotations

import getpass
import os
import socket
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from allocation.service_layer.operations import audit

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the audit.")]
Who = Annotated[
    str | None, typer.Option("--who", metavar="NAME", help="Who does it, for the audit.", show_default="USER@HOST")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


def note(why: str, who: str | None) -> audit.Note:
    """Return what the audit is told; a reason must be given."""
    from allocation.service_layer.operations import audit  # noqa: PLC0415 - takes longer to load than `--help` should

    if not why.strip():
        raise typer.BadParameter("say why, for the audit", param_hint="--why")
    return audit.Note(_storable(who or f"{_user()}@{socket.gethostname()}"), _storable(why.strip()))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        return f"uid {os.getuid()}"


def _storable(text: str) -> str:
    """Return what the database can hold: bytes of the command line that are no UTF-8 are spelled out."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
