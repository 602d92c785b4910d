"""How soon a backlog of commands is worked off: from the moment at which it may begin to the last event."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.bench import book, commands, events, installation, processes, usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from allocation import config
    from allocation.service_layer import messages
    from tests.bench import bench

Figures = dict[str, float]

# A worker that was told of its partitions asks for records, waits at the broker, and has nothing else to do.
_SETTLE_S = 0.3
_EVENT = "line_allocated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """What handles and relays: modules with their arguments, by role."""

    workers: Sequence[tuple[str, ...]]
    relay: tuple[str, ...] | None
    lines: str = "order_lines"
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"


OURS = Contender(workers=[("allocation", "worker")], relay=("allocation", "relay"))
OURS_TWICE = Contender(workers=[("allocation", "worker")] * 2, relay=("allocation", "relay"))
OURS_AT_LEAST_ONCE = dataclasses.replace(OURS, delivery="at_least_once")
LIMIT = Contender(workers=[("tests.bench.limit", "handle")], relay=("tests.bench.limit", "relay"))
BOOK = Contender(workers=[("tests.bench.book", "handle")], relay=None, lines="book.order_lines")


@dataclass(frozen=True, slots=True)
class Running:
    """The processes of a contender."""

    workers: Sequence[processes.Process]
    relays: Sequence[processes.Process]

    def check(self) -> None:
        """Raise RuntimeError if one of them has ended."""
        for process in (*self.workers, *self.relays):
            process.check(time.monotonic() + processes.DEADLINE_S)

    def pids(self) -> Mapping[str, tuple[int, ...]]:
        """Return the processes by role."""
        pids = {"worker": tuple(one.pid for one in self.workers), "relay": tuple(one.pid for one in self.relays)}
        return {role: numbers for role, numbers in pids.items() if numbers}

    def peak_rss(self) -> Figures:
        """Return the most memory that one of each role has had."""
        roles = {"worker": self.workers, "relay": self.relays}
        return {f"rss_mb.{role}": max(one.peak_rss_mb() for one in ones) for role, ones in roles.items() if ones}


def drain(
    on: bench.Bench,
    contender: Contender,
    skus: Iterable[str],
    *,
    seed: Callable[[config.Settings], None],
) -> Figures:
    """Return how one contender does with an `Allocate` for each of these skus."""
    with installation.fresh(on.endpoints, session_timeout_ms=on.session_timeout_ms) as settings:
        if contender is BOOK:
            book.create_tables(settings)
        seed(settings)
        before = lines(settings, contender)
        outgoing = commands.allocations(settings, skus)
        with running(contender, settings) as parts, events.watching(settings, _EVENT) as watcher:
            figures = timed(on, settings, parts, watcher, outgoing, expected=len(outgoing))
        assert lines(settings, contender) - before == watcher.count == len(outgoing)
    return {"rate": len(outgoing) / figures["seconds"], "count": len(outgoing), **figures}


@contextlib.contextmanager
def running(contender: Contender, settings: config.Settings) -> Iterator[Running]:
    """Run a contender; it is ready, and has nothing to do yet."""
    with contextlib.ExitStack() as stack:
        relays = []
        if contender.relay is not None:
            relays.append(stack.enter_context(processes.running(*contender.relay, settings=settings)))
            relays[0].await_line("relay.active")
        workers = [stack.enter_context(processes.running(*one, settings=settings)) for one in contender.workers]
        _await_shares(workers, settings)
        time.sleep(_SETTLE_S)
        yield Running(workers, relays)


def _await_shares(workers: Sequence[processes.Process], settings: config.Settings) -> None:
    """Wait until each has its partitions; several of them share those of three topics."""
    for worker in workers:
        worker.await_line("worker.assigned")
    deadline = time.monotonic() + processes.DEADLINE_S
    while len(workers) > 1:
        shares = [len(worker.lines("worker.assigned")[-1]["at"]) for worker in workers]
        if all(shares) and sum(shares) == settings.partitions * 3:
            return
        workers[0].check(deadline)
        time.sleep(_SETTLE_S)


def timed(
    on: bench.Bench,
    settings: config.Settings,
    parts: Running,
    watcher: events.Watcher,
    outgoing: Sequence[messages.OutboxMessage],
    *,
    expected: int,
) -> Figures:
    """Let the workers loose on these commands, which are there by then, until so many events are."""
    for worker in parts.workers:
        worker.freeze()
    commands.send(settings, outgoing)
    meter = usage.Meter({**parts.pids(), **on.servers})
    begun = time.time()
    for worker in parts.workers:
        worker.thaw()
    watcher.await_count(expected, check=parts.check)
    seconds = watcher.last_at - begun
    return {"seconds": seconds, **meter.figures(), **parts.peak_rss()}


def lines(settings: config.Settings, contender: Contender) -> int:
    """Return how many order lines there are."""
    return int(installation.run(settings.database_url, f"SELECT count(*) FROM {contender.lines}")[0][0])
