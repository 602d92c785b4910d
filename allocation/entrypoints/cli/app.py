"""The command line: registers each part, and turns errors that a user can mend into one sentence."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

import allocation
from allocation import config
from allocation.entrypoints.cli import services
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(
    name="allocation",
    help="Decide which batch of stock serves which order line, over Kafka, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback
    if wanted:
        typer.echo(allocation.__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    del version


_SERVICES: tuple[Callable[..., None], ...] = (services.worker,)
for command in _SERVICES:
    app.command(rich_help_panel="Services")(command)


def main() -> None:
    """Run the command line; exit 2 for a wrong setting, 1 for a service that does not answer."""
    try:
        app()
    except config.SettingsError as error:
        _fail(str(error), status=2)
    except ports.DependencyDown as error:
        _fail(str(error), status=1)


def _fail(text: str, *, status: int) -> None:
    typer.echo(f"allocation: {text}", err=True)
    sys.exit(status)
