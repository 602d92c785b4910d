"""The relay's process: one thread for each shard of the outbox."""

from __future__ import annotations

from concurrent import futures
from typing import TYPE_CHECKING

import structlog

from allocation import bootstrap
from allocation.entrypoints import stopping
from allocation.entrypoints.observing import parts
from allocation.service_layer import ports, signals

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from allocation import config

log = structlog.get_logger()

_AT_LEAST_ONCE = (
    "after a crash or an outage events may come twice, and the repeated ones late: drop what has a ce_id that you had"
)
_RETRY_S = 1.0  # how often a database that does not answer at the start is asked again
# Only this, the main thread, can run the handler of a signal, and the system may tell another thread of it, which
# does not wake up this one: a relay that was stopped (SIGSTOP), continued and told to end would wait for ever.
_SIGNAL_CHECK_S = 0.2


def run(settings: config.Settings) -> None:
    """Relay every shard until SIGTERM or Ctrl-C; raises `RelayStopped` when a person has to decide."""
    stop = stopping.on_signal()
    with parts.observed(settings, part="relay") as signals:
        serve(settings, stop, signals=signals)


def serve(settings: config.Settings, stop: threading.Event, *, signals: signals.Signals = signals.SILENT) -> None:
    """Relay every shard until the event is set, or until one of them cannot go on: then all stop."""
    shards = _shards(settings, stop, signals)
    if not shards:
        return
    if settings.delivery == "at_least_once":
        log.warning("relay.at_least_once", means=_AT_LEAST_ONCE, see="docs/guarantees.md")
    with futures.ThreadPoolExecutor(len(shards), thread_name_prefix="relay") as pool:
        running = [pool.submit(bootstrap.relay(settings, shard=shard, signals=signals).run, stop) for shard in shards]
        try:
            _wait(running)
        finally:
            stop.set()
    for shard in running:
        shard.result()
    log.info("relay.stopped", shards=len(shards))


def _wait(running: Sequence[futures.Future[None]]) -> None:
    """Block until all have ended, or one has failed."""
    pending = set(running)
    while pending:
        done, pending = futures.wait(pending, timeout=_SIGNAL_CHECK_S, return_when=futures.FIRST_EXCEPTION)
        if any(shard.exception() for shard in done):
            return


def _shards(settings: config.Settings, stop: threading.Event, signals: signals.Signals) -> Sequence[int]:
    """Ask the database for the shards until it answers."""
    is_down = False
    while not stop.is_set():
        try:
            shards = bootstrap.relay_shards(settings)
        except ports.Retryable as error:
            signals.says("work", str(error))
            if not is_down:
                log.warning("relay.paused", error=str(error))
            is_down = True
            stop.wait(_RETRY_S)
        else:
            signals.forgets("work")  # from here on each shard speaks for itself
            return shards
    return ()
