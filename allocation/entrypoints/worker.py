"""`allocation worker`: a member of the consumer group that handles the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from allocation import bootstrap
from allocation.entrypoints import stopping

if TYPE_CHECKING:
    from allocation import config

log = structlog.get_logger()


def run(settings: config.Settings) -> None:
    """Work until SIGTERM or Ctrl-C; the batch in hand is finished."""
    stop = stopping.on_signal()
    with bootstrap.worker(settings, stopping=stop) as worker:
        log.info("worker.started", group=settings.consumer_group, instance=settings.consumer_instance_id)
        worker.run(stop)
    log.info("worker.stopped")
