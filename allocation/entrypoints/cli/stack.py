"""`allocation up | down | env`: Kafka, PostgreSQL, Redis and a schema registry for local work."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from allocation import devstack
from allocation.devstack import local, supervisor
from allocation.entrypoints.cli import failures

_USE = """
In another terminal:

  eval "$(allocation env)"    # point the settings at these services
  allocation init             # topics, schemas, tables
  allocation run              # worker, relay, bridge, API and maintenance
"""


def up(
    *,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when all is up; `allocation down` stops it.")
    ] = False,
) -> None:
    """Start Kafka, PostgreSQL, Redis and a schema registry here, as plain processes.

    No container engine, root or Java is needed; the first start fetches about 200 MB.
    The data are kept until `allocation down --wipe`.
    """
    supervisor.interrupt_on_sigterm()
    try:
        if detach:
            _up_detached()
        else:
            _up_in_foreground()
    except devstack.DevstackError as error:
        failures.give_up(str(error))
    except KeyboardInterrupt:
        typer.echo("Interrupted; everything is stopped.", err=True)
        raise typer.Exit(130) from None


def down(
    *,
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove the data, too.")] = False,
) -> None:
    """Stop the local stack; its data stay for the next `up`, unless wiped."""
    try:
        was_running = local.stop()
        was_wiped = wipe and local.wipe()
    except devstack.DevstackError as error:
        failures.give_up(str(error))
    if not (was_running or was_wiped):
        failures.give_up("No local stack is running; `allocation up` starts one.")
    if was_running:
        typer.echo("Stopped.")
    if was_wiped:
        typer.echo("The data are removed.")


def env() -> None:
    """Print the running stack's addresses as `export` lines, for `eval "$(allocation env)"`."""
    try:
        running = local.find()
    except devstack.DevstackError as error:
        failures.give_up(str(error))
    if running is None:
        failures.give_up("No local stack is running; `allocation up` starts one.")
    if running.endpoints is None:
        failures.give_up(f"The local stack (process {running.pid}) is still starting; try again in a moment.")
    for name, value in running.endpoints.environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _up_in_foreground() -> None:
    with local.hold(typer.echo) as running:
        try:
            _show(running.endpoints)
            typer.echo("Ctrl-C stops everything.")
            supervisor.watch(running)
        except KeyboardInterrupt:
            typer.echo("\nStopping …")
    typer.echo("Stopped; the data are kept.")


def _up_detached() -> None:
    supervisor.start_detached(typer.echo)
    running = local.find()
    if running is not None and running.endpoints is not None:
        _show(running.endpoints)
        typer.echo("`allocation down` stops everything.")


def _show(endpoints: devstack.Endpoints) -> None:
    typer.echo("")
    for name, value in endpoints.environment().items():
        typer.echo(f"  {name}={value}")
    typer.echo(_USE)
