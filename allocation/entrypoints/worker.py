"""`allocation worker`: a member of the consumer group that handles the commands."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import structlog

from allocation import bootstrap
from allocation.entrypoints import rejoining, stopping
from allocation.entrypoints.observing import parts
from allocation.service_layer import ports

if TYPE_CHECKING:
    import threading

    from allocation import config
    from allocation.service_layer import signals

log = structlog.get_logger()


# A micro-batch makes a hundred thousand objects and drops them all: looking for cycles among them while they live
# takes a quarter of the time and finds none.
_GC_THRESHOLD = 500_000
_RETRY_S = 1.0  # how often what does not answer at the start is asked again


def run(settings: config.Settings) -> None:
    """Work until SIGTERM or Ctrl-C; the batch in hand is finished. Waits for services that are not up yet."""
    stop = stopping.on_signal()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    with parts.observed(settings, part="worker") as signals:
        serve(settings, stop, signals)
    log.info("worker.stopped")


def serve(settings: config.Settings, stop: threading.Event, signals: signals.Signals) -> None:
    """Work until the event is set, through outages of everything; raises `MembershipLost` if another has its name."""
    waits_for = ""
    rejoins = rejoining.Rejoining(group=settings.consumer_group, instance_id=settings.consumer_instance_id)
    while not stop.is_set():
        try:
            with bootstrap.worker(settings, stopping=stop, signals=signals) as worker:
                log.info("worker.started", group=settings.consumer_group, instance=settings.consumer_instance_id)
                worker.run(stop)
        except (ports.DependencyDown, ports.MembershipLost) as error:
            if isinstance(error, ports.MembershipLost):
                rejoins.note(error)
            signals.says("work", str(error))
            if str(error) != waits_for:
                waits_for = str(error)
                log.warning("worker.waits", error=waits_for)
            stop.wait(_RETRY_S)
