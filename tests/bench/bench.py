"""The measurements: which there are, and running them in rounds, one after another in each."""

from __future__ import annotations

import functools
import os
import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench import commands, drains, latencies, others, report, results, seeding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from allocation import config, devstack
    from tests.bench import options

Figures = dict[str, float]

SCENARIOS = "ABCDEFGS"
_USUAL_RATE = 200  # a second
_AT_LEAST_ONCE = "ours at_least_once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured on: the services, their processes by name (if they are ours to look at), the sizes."""

    endpoints: devstack.Endpoints
    servers: Mapping[str, tuple[int, ...]]
    sizes: options.Sizes
    drained: list[float] = field(default_factory=list)

    @property
    def half_drain_rate(self) -> float:
        """Half of the commands a second that one worker has worked off until now."""
        return statistics.median(self.drained) / 2

    @property
    def session_timeout_ms(self) -> int:
        """How long a worker may be frozen while its commands are sent, of which 10,000 take well under a second."""
        return 8_000 + self.sizes.commands // 10


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement; `scenarios` are those that need it."""

    name: str
    scenarios: str
    run: Callable[[Bench], Figures]


def _uniform(on: Bench, contender: drains.Contender) -> Figures:
    skus = commands.uniform(on.sizes.commands, skus=on.sizes.skus)
    return drains.drain(on, contender, skus, seed=_two_batches(on))


def _book(on: Bench) -> Figures:
    skus = commands.uniform(on.sizes.book_commands, skus=on.sizes.skus)
    return drains.drain(on, drains.BOOK, skus, seed=functools.partial(seeding.book, skus=on.sizes.skus))


def _on_one_sku(on: Bench) -> Figures:
    return drains.drain(on, drains.OURS, commands.one_sku(on.sizes.commands), seed=_two_batches(on))


def _zipf(on: Bench) -> Figures:
    skus = commands.zipf(on.sizes.commands, skus=on.sizes.skus)
    return drains.drain(on, drains.OURS, skus, seed=_two_batches(on))


def _with_old_lines(on: Bench, *, lines_per_sku: Callable[[options.Sizes], int]) -> Figures:
    each = lines_per_sku(on.sizes)
    skus = max(1, on.sizes.old_lines // each)

    def seed(settings: config.Settings) -> None:
        seeding.batches(settings, skus=skus)
        seeding.lines(settings, skus=skus, lines_per_sku=each)

    return drains.drain(on, drains.OURS, commands.uniform(on.sizes.commands, skus=skus), seed=seed)


def _with_few_skus(on: Bench, *, old_batches: bool) -> Figures:
    skus = _few(on)

    def seed(settings: config.Settings) -> None:
        seeding.batches(settings, skus=skus)
        if old_batches:
            seeding.old_batches(settings, skus=skus, batches_per_sku=on.sizes.batches_per_sku)

    return drains.drain(on, drains.OURS, commands.uniform(on.sizes.commands, skus=skus), seed=seed)


def _few(on: Bench) -> int:
    return max(1, on.sizes.old_lines // on.sizes.many_lines_per_sku)


def _two_batches(on: Bench) -> Callable[[config.Settings], None]:
    return functools.partial(seeding.batches, skus=on.sizes.skus)


def _old_lines(sizes: options.Sizes) -> int:
    return sizes.old_lines // sizes.skus


def _many_old_lines(sizes: options.Sizes) -> int:
    return sizes.many_lines_per_sku


def _latency_cases(sizes: options.Sizes) -> Iterator[Case]:
    contenders = (("limit", drains.LIMIT), ("ours", drains.OURS), (_AT_LEAST_ONCE, drains.OURS_AT_LEAST_ONCE))
    for rate in sizes.rates:
        for name, contender in contenders if rate == _USUAL_RATE else contenders[:2]:
            run_it = functools.partial(latencies.of_commands, contender=contender, rate=rate)
            yield Case(f"latency at {rate}/s, {name}", "B", run_it)
    for name, contender in (("limit", drains.LIMIT), ("ours", drains.OURS)):
        yield Case(
            f"latency at half the drain rate, {name}", "B", functools.partial(_at_half_rate, contender=contender)
        )


def _relay_cases() -> Iterator[Case]:
    for more, contender in (("", drains.OURS), (", at_least_once", drains.OURS_AT_LEAST_ONCE)):
        yield Case(f"relay alone{more}", "F", functools.partial(others.relay, contender=contender))
        measure = functools.partial(latencies.of_rows, contender=contender, rate=_USUAL_RATE)
        yield Case(f"relay alone, latency at {_USUAL_RATE}/s{more}", "F", measure)


def _at_half_rate(on: Bench, contender: drains.Contender) -> Figures:
    return latencies.of_commands(on, contender, rate=on.half_drain_rate)


def cases(sizes: options.Sizes) -> tuple[Case, ...]:
    """Return all measurements, in the order of a round."""
    return (
        Case("book", "A", _book),
        Case("limit", "A", functools.partial(_uniform, contender=drains.LIMIT)),
        Case("ours", "ABCDEFG", functools.partial(_uniform, contender=drains.OURS)),
        Case("ours, 2 workers", "A", functools.partial(_uniform, contender=drains.OURS_TWICE)),
        *_latency_cases(sizes),
        Case("one sku", "C", _on_one_sku),
        Case("zipf", "C", _zipf),
        Case("old lines", "D", functools.partial(_with_old_lines, lines_per_sku=_old_lines)),
        Case("few skus", "D", functools.partial(_with_few_skus, old_batches=False)),
        Case("few skus, many old lines", "D", functools.partial(_with_old_lines, lines_per_sku=_many_old_lines)),
        Case("few skus, many old batches", "D", functools.partial(_with_few_skus, old_batches=True)),
        Case("reallocation storm", "E", others.storm),
        *_relay_cases(),
        Case("replay", "G", others.replay),
        Case("start of a worker", "S", others.start),
    )


def run(
    on: Bench, scenarios: Iterable[str], *, rounds: int, tell: Callable[[str], None], only: Sequence[str] = ()
) -> results.Results:
    """Return the figures of each case by round; every second round goes through the cases backwards."""
    wanted = set(scenarios)
    chosen = [case for case in cases(on.sizes) if wanted & set(case.scenarios) and (not only or case.name in only)]
    if on.sizes.warm_up_commands:
        _warm_up(on)
    found: results.Results = {case.name: [] for case in chosen}
    for number in range(rounds):
        for case in chosen[:: 1 if number % 2 == 0 else -1]:
            load = os.getloadavg()[0]
            figures = case.run(on)
            if case.name == "ours":
                on.drained.append(figures["rate"])
            found[case.name].append({**figures, "load_before": load})
            tell(f"round {number + 1}, {case.name}: {_brief(figures)}")
    return found


def _warm_up(on: Bench) -> None:
    """Let the services do the work once, much of it and little: a Java program gets quicker by that, for a minute."""
    skus = commands.uniform(on.sizes.warm_up_commands, skus=on.sizes.skus)
    on.drained.append(drains.drain(on, drains.OURS, skus, seed=_two_batches(on))["rate"])
    for rate in sorted(on.sizes.rates, reverse=True):
        for contender in (drains.LIMIT, drains.OURS):
            latencies.of_commands(on, contender, rate=rate)


def _brief(figures: Figures) -> str:
    return ", ".join(f"{name} {report.number(value)}" for name, value in figures.items())
