"""The measurements: which there are, and running them in rounds, one after another in each."""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench import commands, drains, seeding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from allocation import config, devstack
    from tests.bench import options

Figures = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is measured on: the services, their processes by name (if they are ours to look at), the sizes."""

    endpoints: devstack.Endpoints
    servers: Mapping[str, tuple[int, ...]]
    sizes: options.Sizes


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement; `scenarios` are those that need it."""

    name: str
    scenarios: str
    run: Callable[[Bench], Figures]


Results = dict[str, list[Figures]]


def _uniform(on: Bench, contender: drains.Contender) -> Figures:
    skus = commands.uniform(on.sizes.commands, skus=on.sizes.skus)
    return drains.drain(on, contender, skus, seed=_two_batches(on))


def _book(on: Bench) -> Figures:
    skus = commands.uniform(on.sizes.book_commands, skus=on.sizes.skus)
    return drains.drain(on, drains.BOOK, skus, seed=functools.partial(seeding.book, skus=on.sizes.skus))


def _two_batches(on: Bench) -> Callable[[config.Settings], None]:
    return functools.partial(seeding.batches, skus=on.sizes.skus)


CASES = (
    Case("book", "A", _book),
    Case("limit", "A", functools.partial(_uniform, contender=drains.LIMIT)),
    Case("ours", "ACDEFG", functools.partial(_uniform, contender=drains.OURS)),
    Case("ours, 2 workers", "A", functools.partial(_uniform, contender=drains.OURS_TWICE)),
)


def run(
    on: Bench, scenarios: Iterable[str], *, rounds: int, tell: Callable[[str], None], only: Sequence[str] = ()
) -> Results:
    """Return the figures of each case by round; every second round goes through the cases backwards."""
    wanted = set(scenarios)
    cases = [case for case in CASES if wanted & set(case.scenarios) and (not only or case.name in only)]
    results: Results = defaultdict(list)
    for number in range(rounds):
        for case in cases[:: 1 if number % 2 == 0 else -1]:
            load = os.getloadavg()[0]
            figures = case.run(on)
            results[case.name].append({**figures, "load_before": load})
            tell(f"round {number + 1}, {case.name}: {_brief(figures)}")
    return dict(results)


def _brief(figures: Figures) -> str:
    return ", ".join(f"{name} {value:,.4g}" if value < 1000 else f"{name} {value:,.0f}" for name, value in figures.items())
