"""`allocation worker | relay | bridge | api | run`: the long-running parts."""

from __future__ import annotations

import typer

from allocation.entrypoints.cli import starting

# Each part is imported when it runs: the others start without it.


def run() -> None:
    """Run worker, relay, bridge, API and maintenance together, for small installations.

    Each is a process of its own that is started again when it dies. SIGTERM or Ctrl-C stops them in
    order, a second one at once. A part that rejects the settings (exit code 2) stops all.
    """
    from allocation.entrypoints.cli import supervising  # noqa: PLC0415

    raise typer.Exit(supervising.run(starting.settings()))


def worker() -> None:
    """Handle the commands on the Kafka topics, as a member of the consumer group."""
    from allocation.entrypoints import worker as entrypoint  # noqa: PLC0415

    entrypoint.run(starting.settings())


def relay() -> None:
    """Send what is in the outbox to Kafka, exactly once; a second one stands by."""
    from allocation.entrypoints import relay as entrypoint  # noqa: PLC0415

    entrypoint.run(starting.settings())


def bridge() -> None:
    """Forward Redis messages to Kafka, allocations to Redis and shortages by e-mail."""
    from allocation.entrypoints import bridge as entrypoint  # noqa: PLC0415

    entrypoint.run(starting.settings())


def api() -> None:
    """Serve HTTP: each POST puts its command on Kafka and waits for the outcome."""
    from allocation.entrypoints.http_api import server  # noqa: PLC0415

    server.run(starting.settings())
