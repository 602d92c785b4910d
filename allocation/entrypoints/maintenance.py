"""The process that takes out old rows now and then; any number may run, and one of them does the work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from allocation import bootstrap
from allocation.entrypoints import stopping
from allocation.entrypoints.observing import parts
from allocation.service_layer import ports, signals

if TYPE_CHECKING:
    import threading

    from allocation import config
    from allocation.adapters.postgres import leases

log = structlog.get_logger()

_RETRY_S = 5.0  # how often what does not answer is asked again; nothing is urgent here
_LOOK_S = 60.0  # how often one that stands by sees whether it is its turn
_SAY_S = 15.0  # how often one that waits says so: who says nothing for longer counts as hanging


def run(settings: config.Settings) -> None:
    """Prune at each interval until SIGTERM or Ctrl-C."""
    stop = stopping.on_signal()
    with parts.observed(settings, part="maintenance") as signals:
        serve(settings, stop, signals=signals)


def serve(settings: config.Settings, stop: threading.Event, *, signals: signals.Signals = signals.SILENT) -> None:
    """Prune at each interval until the event is set, through outages of everything."""
    is_down = False
    with bootstrap.maintenance_turn(settings) as turn:
        while not stop.is_set():
            try:
                if turn.acquire():
                    _work(settings, turn, stop, signals)
                    wait_s, state = settings.maintenance_interval_s, "done, until it is time again"
                else:
                    wait_s, state = min(settings.maintenance_interval_s, _LOOK_S), "standby"
                is_down = False
                _rest(stop, wait_s, signals, state)
            except ports.Retryable as error:
                signals.says("work", str(error))
                if not is_down:
                    log.warning("maintenance.paused", error=str(error))
                is_down = True
                stop.wait(_RETRY_S)
    log.info("maintenance.stopped")


def _rest(stop: threading.Event, duration_s: float, signals: signals.Signals, state: str) -> None:
    """Wait, and say again and again that it is meant to be so."""
    until = time.monotonic() + duration_s
    while not stop.is_set() and (left_s := until - time.monotonic()) > 0:
        signals.says("work", state=state)
        stop.wait(min(left_s, _SAY_S))


def _work(settings: config.Settings, turn: leases.Lease, stop: threading.Event, signals: signals.Signals) -> None:
    """Do what is due; what fails, or is left unfinished, is due again at once."""

    def on_progress(table: str, done: int, pages: int) -> None:
        signals.says("work", state=f"{table}: {done} of {pages} pages")

    is_done = False
    try:
        with bootstrap.maintenance(settings) as maintenance:
            for pruned in maintenance.run(stop, on_progress=on_progress):
                log.info("maintenance.pruned", table=pruned.name, rows=pruned.rows)
        is_done = not stop.is_set()
    finally:
        if not is_done:
            turn.release()
