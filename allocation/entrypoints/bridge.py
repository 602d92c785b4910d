"""`allocation bridge`: Redis and e-mail on one side, Kafka on the other; one works, the others stand by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from allocation import bootstrap
from allocation.entrypoints import stopping
from allocation.entrypoints.observing import parts
from allocation.service_layer import ports, signals

if TYPE_CHECKING:
    import threading

    from allocation import config

log = structlog.get_logger()

_RETRY_S = 1.0  # how often what does not answer at the start is asked again


def run(settings: config.Settings) -> None:
    """Bridge until SIGTERM or Ctrl-C; what is in hand is finished."""
    stop = stopping.on_signal()
    with parts.observed(settings, part="bridge") as signals:
        serve(settings, stop, signals=signals)


def serve(settings: config.Settings, stop: threading.Event, *, signals: signals.Signals = signals.SILENT) -> None:
    """Bridge until the event is set, through outages of everything."""
    is_down = False
    while not stop.is_set():
        try:
            with bootstrap.bridge(settings, signals=signals) as bridge:
                signals.forgets("work")  # from here on lease and directions speak for themselves
                bridge.run(stop)
        except ports.Retryable as error:
            signals.says("work", str(error))
            if not is_down:
                log.warning("bridge.paused", error=str(error))
            is_down = True
            stop.wait(_RETRY_S)
    log.info("bridge.stopped")
