"""The command line: registers each part, and turns errors that a user can mend into one sentence.

Starting it must stay quick, so a part imports what is heavy when it runs, not when it is registered.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import allocation
from allocation.entrypoints.cli import (
    auditing,
    console,
    demo,
    describing,
    dlq,
    failures,
    maintaining,
    moving,
    parked,
    positions,
    producing,
    replay,
    schemas,
    services,
    setup,
    showing,
    stack,
    status,
    tailing,
    verifying,
)

app = typer.Typer(
    name="allocation",
    help="Decide which batch of stock serves which order line, over Kafka, exactly once.",
    epilog="Settings are environment variables ALLOCATION_… or lines of a file `.env` in the working directory.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
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
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and exit.")
    ] = False,
) -> None:
    del version


_STACK = "Local stack"
app.command(rich_help_panel=_STACK)(stack.up)
app.command(rich_help_panel=_STACK)(stack.down)
app.command(rich_help_panel=_STACK)(stack.env)
app.command(rich_help_panel=_STACK)(demo.demo)

_INSTALLATION = "Installation"
app.command(rich_help_panel=_INSTALLATION)(setup.init)
app.command(rich_help_panel=_INSTALLATION)(status.status)
app.command(rich_help_panel=_INSTALLATION)(console.top)
app.command(rich_help_panel=_INSTALLATION)(console.console)
app.add_typer(schemas.app, name="schemas", rich_help_panel=_INSTALLATION)
app.command(rich_help_panel=_INSTALLATION)(describing.asyncapi)
app.command(rich_help_panel=_INSTALLATION)(describing.openapi)

_SERVICES = "Services"
app.command(rich_help_panel=_SERVICES)(services.run)
app.command(rich_help_panel=_SERVICES)(services.worker)
app.command(rich_help_panel=_SERVICES)(services.relay)
app.command(rich_help_panel=_SERVICES)(services.bridge)
app.command(rich_help_panel=_SERVICES)(services.api)
app.command(rich_help_panel=_SERVICES)(maintaining.maintenance)

_MESSAGES = "Messages"
app.add_typer(producing.app, name="produce", rich_help_panel=_MESSAGES)
app.command(rich_help_panel=_MESSAGES, epilog=tailing.EXAMPLES)(tailing.tail)

_OPERATION = "Operation"
app.command(rich_help_panel=_OPERATION)(verifying.verify)
app.add_typer(dlq.app, name="dlq", rich_help_panel=_OPERATION)
app.add_typer(parked.app, name="parked", rich_help_panel=_OPERATION)
app.add_typer(parked.outbox, name="outbox", rich_help_panel=_OPERATION)
app.add_typer(replay.app, name="replay", rich_help_panel=_OPERATION)
app.add_typer(positions.app, name="position", rich_help_panel=_OPERATION)
app.command(rich_help_panel=_OPERATION)(moving.move)
app.command(rich_help_panel=_OPERATION)(auditing.audit)
app.add_typer(showing.app, name="show", rich_help_panel=_OPERATION)


def main() -> None:
    """Run the command line; exit 2 for what the user got wrong, 1 for what fails otherwise, 130 for Ctrl-C."""
    try:
        app()
    except Exception as error:
        failure = failures.explain(error)
        if failure is None:
            raise
        typer.echo(f"allocation: {failure.sentence}", err=True)
        sys.exit(failure.status)
