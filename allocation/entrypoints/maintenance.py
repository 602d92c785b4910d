"""The process that takes out old rows now and then; any number may run, and one of them does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from allocation import bootstrap
from allocation.entrypoints import stopping
from allocation.service_layer import ports

if TYPE_CHECKING:
    import threading

    from allocation import config
    from allocation.adapters.postgres import leases

log = structlog.get_logger()

_RETRY_S = 5.0  # how often what does not answer is asked again; nothing is urgent here
_LOOK_S = 60.0  # how often one that stands by sees whether it is its turn


def run(settings: config.Settings) -> None:
    """Prune at each interval until SIGTERM or Ctrl-C."""
    serve(settings, stopping.on_signal())


def serve(settings: config.Settings, stop: threading.Event) -> None:
    """Prune at each interval until the event is set, through outages of everything."""
    is_down = False
    with bootstrap.maintenance_turn(settings) as turn:
        while not stop.is_set():
            try:
                wait_s = settings.maintenance_interval_s
                if turn.acquire():
                    _work(settings, turn, stop)
                else:
                    wait_s = min(wait_s, _LOOK_S)
                is_down = False
                stop.wait(wait_s)
            except ports.Retryable as error:
                if not is_down:
                    log.warning("maintenance.paused", error=str(error))
                is_down = True
                stop.wait(_RETRY_S)
    log.info("maintenance.stopped")


def _work(settings: config.Settings, turn: leases.Lease, stop: threading.Event) -> None:
    """Do what is due; what fails, or is left unfinished, is due again at once."""
    is_done = False
    try:
        with bootstrap.maintenance(settings) as maintenance:
            for pruned in maintenance.run(stop):
                log.info("maintenance.pruned", table=pruned.name, rows=pruned.rows)
        is_done = not stop.is_set()
    finally:
        if not is_done:
            turn.release()
