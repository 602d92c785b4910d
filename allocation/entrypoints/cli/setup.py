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


def init(
    *,
    wait: Annotated[
        float,
        typer.Option("--wait", min=0, metavar="SECONDS", help="Wait this long for services that are not up yet."),
    ] = 0.0,
) -> None:
    """Create the topics, register the schemas, migrate the database; may be repeated."""
    _initialise(starting.settings(), deadline=time.monotonic() + wait)
    typer.echo("ready")


def _initialise(settings: config.Settings, *, deadline: float) -> None:
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should
    from allocation.service_layer import ports  # noqa: PLC0415

    waiting_for = ""
    while True:
        try:
            return bootstrap.initialise(settings, on_progress=typer.echo)
        except ports.Retryable as error:
            if time.monotonic() + _RETRY_S > deadline:
                raise
            if str(error) != waiting_for:
                typer.echo(f"waiting: {error}", err=True)
            waiting_for = str(error)
            time.sleep(_RETRY_S)
