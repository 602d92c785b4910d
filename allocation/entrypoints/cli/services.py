"""`allocation worker | relay | bridge | api | run`: the long-running parts."""

from __future__ import annotations

from allocation import config
from allocation.entrypoints import logs


def worker() -> None:
    """Handle the commands on the Kafka topics, as a member of the consumer group."""
    from allocation.entrypoints import worker as entrypoint  # noqa: PLC0415 - the other parts start without it

    settings = config.load()
    logs.configure(settings)
    entrypoint.run(settings)
