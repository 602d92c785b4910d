"""How long one command takes at a steady rate, from the moment at which it was due to its event at a consumer."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tests.bench import drains, events, installation, pacing, processes, seeding, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from allocation import config
    from tests.bench import bench

_NS_PER_MS = 1_000_000


def of_commands(on: bench.Bench, contender: drains.Contender, *, rate: float) -> drains.Figures:
    """Return the percentiles in ms at so many commands a second."""
    with installation.fresh(on.endpoints, delivery=contender.delivery) as settings:
        seeding.batches(settings, skus=on.sizes.skus)
        with drains.running(contender, settings) as parts:
            return _measure(on, settings, parts, job="commands", rate=rate)


def of_rows(on: bench.Bench, contender: drains.Contender, *, rate: float) -> drains.Figures:
    """Return the percentiles in ms from the insert of a row to its event, at so many rows a second."""
    with (
        installation.fresh(on.endpoints, delivery=contender.delivery) as settings,
        processes.running("allocation", "relay", settings=settings) as relay,
    ):
        relay.await_line("relay.active")
        return _measure(on, settings, drains.Running((), (relay,)), job="rows", rate=rate)


def _measure(
    on: bench.Bench, settings: config.Settings, parts: drains.Running, *, job: str, rate: float
) -> drains.Figures:
    warm_up = int(rate * on.sizes.warm_up_s)
    expected = warm_up + max(1, int(rate * on.sizes.latency_s))
    sender = ("tests.bench.pacing", job, str(rate), str(expected), str(on.sizes.skus))
    with contextlib.ExitStack() as stack:
        watcher = stack.enter_context(events.watching(settings, "line_allocated"))
        sending = stack.enter_context(processes.running(*sender, settings=settings))
        meter = usage.Meter({**parts.pids(), **on.servers, "sender": (sending.pid,)})

        def check() -> None:
            parts.check()
            sending.check(time.monotonic() + processes.DEADLINE_S)

        found = _latencies_ms(watcher, expected, check)
        return {**_percentiles(found[warm_up:]), "count": len(found) - warm_up, **meter.figures(), **parts.peak_rss()}


def _latencies_ms(watcher: events.Watcher, expected: int, check: Callable[[], None]) -> list[float]:
    """Return the latencies in the order of arrival."""
    found: list[float] = []
    checked_at = time.monotonic()
    while len(found) < expected:
        arrived = watcher.take_soon()
        now = time.monotonic_ns()
        found.extend((now - pacing.due_ns(message.value())) / _NS_PER_MS for message in arrived)
        if time.monotonic() - checked_at > 1:
            checked_at = time.monotonic()
            check()
    return found


def _percentiles(found: Sequence[float]) -> drains.Figures:
    ordered = sorted(found)
    last = len(ordered) - 1
    shares = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999, "max_ms": 1.0}
    return {name: ordered[round(share * last)] for name, share in shares.items()}
