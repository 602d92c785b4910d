"""`allocation demo`: the whole system, for a minute, with a story that shows what it does."""

from __future__ import annotations

from typing import Annotated

import typer

from allocation.entrypoints.cli import failures

_CHAPTERS = 6


def demo(
    *,
    lines: Annotated[
        int | None, typer.Option("--lines", min=1, metavar="N", help="Send so many of the order lines; else all.")
    ] = None,
) -> None:
    """Show the whole system at work, on real services and with 10,000 real order lines.

    Starts Kafka, PostgreSQL, Redis and a schema registry with data of their own, and stops everything
    at the end. The first time, about 200 MB are fetched. Exit code 1 if anything does not add up.
    """
    from allocation.devstack import supervisor  # noqa: PLC0415 - takes longer to load than `--help` should

    supervisor.interrupt_on_sigterm()
    try:
        _tell(lines)
    except KeyboardInterrupt:
        typer.echo("\nInterrupted; everything is stopped, and the data are removed.", err=True)
        raise typer.Exit(130) from None


def _tell(limit: int | None) -> None:
    from rich import console  # noqa: PLC0415 - see above

    from allocation import devstack  # noqa: PLC0415 - see above
    from allocation.entrypoints.cli.story import many_lines, one_line, proof, system, telling  # noqa: PLC0415

    tell = telling.Teller(console.Console(highlight=False), chapters=_CHAPTERS)
    try:
        with system.running(tell) as running:
            one_line.tell_it(tell, running)
            many_lines.tell_it(tell, running, limit=limit)
            proof.tell_it(tell, running)
    except (telling.StoryFailed, devstack.DevstackError) as error:
        failures.give_up(str(error))
