"""The measurements that are no drain of `Allocate` commands: storm, relay, replay, start."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import confluent_kafka

from allocation import bootstrap
from allocation.domain import commands as domain
from tests.bench import commands, drains, events, installation, processes, seeding, usage

if TYPE_CHECKING:
    from allocation import config
    from tests.bench import bench


def storm(on: bench.Bench) -> drains.Figures:
    """Return how many lines a second a `ChangeBatchQuantity` moves from one batch to the other."""
    lines = on.sizes.storm_lines
    with installation.fresh(on.endpoints) as settings:
        seeding.batches(settings, skus=1)
        seeding.lines(settings, skus=1, lines_per_sku=lines)
        change = commands.wrap(settings, [domain.ChangeBatchQuantity("batch-0-1", 0, commands.sku(0))])
        topics = ("line_allocated", "line_deallocated")
        with drains.running(drains.OURS, settings) as parts, events.watching(settings, *topics) as watcher:
            figures = drains.timed(on, settings, parts, watcher, change, expected=2 * lines)
        (moved,) = installation.run(
            settings.database_url, "SELECT allocated FROM batches WHERE reference = 'batch-0-2'"
        )
        assert moved[0] == lines
    return {"rate": lines / figures["seconds"], "count": lines, **figures}


def relay(on: bench.Bench, contender: drains.Contender) -> drains.Figures:
    """Return how many rows a second the relay sends from a full outbox, from its first pass on."""
    rows = on.sizes.outbox_rows
    with (
        installation.fresh(on.endpoints, delivery=contender.delivery) as settings,
        events.watching(settings, "line_allocated") as watcher,
    ):
        seeding.outbox(settings, rows=rows)
        with processes.running("allocation", "relay", settings=settings) as process:
            meter = usage.Meter({"relay": (process.pid,), **on.servers})
            parts = drains.Running((), (process,))
            watcher.await_count(rows, check=parts.check)
            process.await_line("relay.pass")
            passes = process.lines("relay.pass")
            begun = processes.logged_at(passes[0]) - passes[0]["duration_ms"] / 1000
            seconds = watcher.last_at - begun
            return {"rate": rows / seconds, "count": rows, "seconds": seconds, **meter.figures(), **parts.peak_rss()}


def replay(on: bench.Bench) -> drains.Figures:
    """Return how many commands a second are skipped when the group's offsets are set back to the beginning."""
    with installation.fresh(on.endpoints, session_timeout_ms=on.session_timeout_ms) as settings:
        seeding.batches(settings, skus=on.sizes.skus)
        outgoing = commands.allocations(settings, commands.uniform(on.sizes.commands, skus=on.sizes.skus))
        with drains.running(drains.OURS, settings) as parts, events.watching(settings, "line_allocated") as watcher:
            drained = drains.timed(on, settings, parts, watcher, outgoing, expected=len(outgoing))
        _rewind(settings)
        with processes.running("allocation", "worker", settings=settings) as worker:
            begun = processes.logged_at(worker.await_line("worker.assigned"))
            meter = usage.Meter({"worker": (worker.pid,), **on.servers})
            last = _await_repeated(worker, len(outgoing))
            seconds = processes.logged_at(last) - begun
            return {
                "rate": len(outgoing) / seconds,
                "count": len(outgoing),
                "ratio_to_own_drain": drained["seconds"] / seconds,
                "seconds": seconds,
                **meter.figures(),
                "rss_mb.worker": worker.peak_rss_mb(),
            }


def start(on: bench.Bench) -> drains.Figures:
    """Return the seconds from the start of the process to the first handled message, which waits already."""
    with installation.fresh(on.endpoints) as settings:
        seeding.batches(settings, skus=on.sizes.skus)
        commands.send(settings, commands.allocations(settings, commands.one_sku(1)))
        with processes.running("allocation", "worker", settings=settings) as worker:
            handled = processes.logged_at(worker.await_line("worker.batch"))
            return {"seconds": handled - worker.started_at, "cpu_s.worker": usage.cpu_s(worker.pid)}


def _rewind(settings: config.Settings) -> None:
    """Set the group's offsets to the beginning; nobody may be in it."""
    group = {"group.id": settings.consumer_group}
    consumer = confluent_kafka.Consumer(bootstrap.kafka_clients(settings).consumer(**group))
    topic = bootstrap.topic_names(settings).allocate
    offsets = [confluent_kafka.TopicPartition(topic, number, 0) for number in range(settings.partitions)]
    consumer.commit(offsets=offsets, asynchronous=False)
    consumer.close()


def _await_repeated(worker: processes.Process, count: int) -> dict[str, object]:
    """Wait until so many records were skipped, and return the log line of the last ones."""
    deadline = time.monotonic() + processes.DEADLINE_S
    while True:
        batches = worker.lines("worker.batch")
        if sum(batch["repeated"] for batch in batches) >= count:
            return batches[-1]
        worker.check(deadline)
        time.sleep(0.05)
