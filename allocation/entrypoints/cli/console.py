"""`allocation console` and `allocation top`: see an installation at work, in a browser or in a terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from allocation.entrypoints.cli import starting

# Each is imported when it runs: the others start without it.


def console(
    *,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Listen on this port.", show_default="ALLOCATION_CONSOLE_PORT"),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar="ALLOCATION_CONSOLE_TOKEN",
            show_envvar=True,
            help="Who gives this in the page may change things. Others see options: prefer the variable.",
        ),
    ] = None,
) -> None:
    """Serve a web page that shows flow, stock, the story of a line, dead letters and parked commands, live.

    It only shows, unless it is started with a token. The address is printed; Ctrl-C stops it.
    """
    from allocation.entrypoints.console import server  # noqa: PLC0415 - takes longer to load than `--help` should

    given = {"console_port": port, "console_token": token}
    server.run(
        starting.settings().model_copy(update={name: value for name, value in given.items() if value is not None})
    )


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one picture and end, as without a terminal.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what the console's page is told: a line of JSON each second.")
    ] = False,
) -> None:
    """Show flow, rates, lags and what is wrong in the terminal, each second anew; Ctrl-C ends it.

    The figures are those of the console and of `allocation status`.
    """
    from allocation.entrypoints.overseeing import terminal  # noqa: PLC0415 - see above

    terminal.run(starting.settings(), once=once, as_json=as_json)
