"""`allocation init`: what must be there before anything can run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from allocation.entrypoints.cli import starting

if TYPE_CHECKING:
    from allocation import config

# A service that comes up takes seconds; asking once a second delays nobody noticeably.
_RETRY_S = 1.0
# Who works on the tables that are to change lets go of them within a transaction or two, unless it is a long one.
_PATIENCE_S = 60.0


def init(
    *,
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            min=0,
            metavar="SECONDS",
            help="Wait this long for services that are not up yet; for tables that others work on, a minute at least.",
        ),
    ] = 0.0,
) -> None:
    """Create the topics, register the schemas, migrate the database; may be repeated."""
    _initialise(starting.settings(), wait=wait)
    typer.echo("ready")


def _initialise(settings: config.Settings, *, wait: float) -> None:
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should
    from allocation.service_layer import ports  # noqa: PLC0415
    from allocation.service_layer.operations import conflicts  # noqa: PLC0415

    began = time.monotonic()
    said: set[str] = set()

    def say(line: str, *, err: bool = False) -> None:
        if line not in said:  # each attempt comes by the same steps
            said.add(line)
            typer.echo(line, err=err)

    while True:
        try:
            return bootstrap.initialise(settings, on_progress=say)
        except ports.Retryable as error:
            patience = max(wait, _PATIENCE_S) if conflicts.is_conflict(error) else wait
            if time.monotonic() + _RETRY_S > began + patience:
                raise
            say(f"waiting: {error}", err=True)
            time.sleep(_RETRY_S)
