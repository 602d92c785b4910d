"""What comes of the figures of all rounds: their spread, and whether they reach what they should."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Figures = dict[str, float]
Results = dict[str, list[Figures]]


class Spread(NamedTuple):
    """Of the values of all rounds."""

    minimum: float
    median: float
    maximum: float


class Figure(NamedTuple):
    """A figure of a case."""

    case: str
    name: str


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure, or its ratio to another of the same round, should be; `is_most`: the less, the better."""

    text: str
    figure: Figure
    to: Figure | None
    least: float
    aim: float
    is_most: bool = False

    def values(self, results: Results) -> list[float]:
        """Return the value of each round that has one."""
        found = results.get(self.figure.case, ())
        if self.to is None:
            return [figures[self.figure.name] for figures in found]
        others = results.get(self.to.case, ())
        return [mine[self.figure.name] / other[self.to.name] for mine, other in zip(found, others, strict=False)]

    def verdict(self, median: float) -> str:
        """Say how far a value gets."""
        sign = -1 if self.is_most else 1
        if sign * median >= sign * self.aim:
            return "aim"
        return "enough" if sign * median >= sign * self.least else "missed"


_DRAIN = Figure("ours", "rate")
_OURS_AT_200 = "latency at 200/s, ours"
_LIMIT_AT_200 = "latency at 200/s, limit"

GOALS = (
    Goal("drain, ours ÷ book", _DRAIN, Figure("book", "rate"), 200, 300),
    Goal("drain, ours ÷ limit", _DRAIN, Figure("limit", "rate"), 0.5, 0.7),
    Goal("worker's peak RSS while draining, MB", Figure("ours", "rss_mb.worker"), None, 200, 120, is_most=True),
    Goal("p50 at 200/s ÷ limit", Figure(_OURS_AT_200, "p50_ms"), Figure(_LIMIT_AT_200, "p50_ms"), 1.5, 1.2, True),
    Goal("p99 at 200/s ÷ limit", Figure(_OURS_AT_200, "p99_ms"), Figure(_LIMIT_AT_200, "p99_ms"), 2, 1.5, True),
    Goal(
        "p50 at 200/s, at_least_once ÷ exactly_once",
        Figure("latency at 200/s, ours at_least_once", "p50_ms"),
        Figure(_OURS_AT_200, "p50_ms"),
        0.6,
        0.4,
        True,
    ),
    Goal(
        "p99 at half the drain rate, ms", Figure("latency at half the drain rate, ours", "p99_ms"), None, 250, 100, True
    ),
    Goal("one sku ÷ uniform", Figure("one sku", "rate"), _DRAIN, 0.7, 1.0),
    Goal("a million old lines ÷ fresh", Figure("old lines", "rate"), _DRAIN, 0.9, 1.0),
    Goal(
        "100,000 old lines of each sku ÷ fresh",
        Figure("few skus, many old lines", "rate"),
        Figure("few skus", "rate"),
        0.9,
        1.0,
    ),
    Goal(
        "2,000 batches of each sku ÷ fresh",
        Figure("few skus, many old batches", "rate"),
        Figure("few skus", "rate"),
        0.9,
        1.0,
    ),
    Goal("lines moved ÷ drain", Figure("reallocation storm", "rate"), _DRAIN, 0.3, 0.6),
    Goal("relay alone ÷ drain", Figure("relay alone", "rate"), _DRAIN, 3, 4),
    Goal(
        "relay alone, at_least_once ÷ exactly_once",
        Figure("relay alone, at_least_once", "rate"),
        Figure("relay alone", "rate"),
        0.9,
        1.0,
    ),
    Goal("skipping ÷ drain", Figure("replay", "rate"), _DRAIN, 3, 5),
    Goal("start to first handled message, s", Figure("start of a worker", "seconds"), None, 3, 1.5, is_most=True),
)


def spread(values: Sequence[float]) -> Spread:
    """Return minimum, median and maximum."""
    return Spread(min(values), statistics.median(values), max(values))


def summary(results: Results) -> Mapping[str, Mapping[str, Spread]]:
    """Return the spread of each figure of each case."""
    return {
        case: {name: spread([figures[name] for figures in rounds]) for name in rounds[0]}
        for case, rounds in results.items()
    }


def reached(results: Results) -> Iterator[tuple[Goal, Spread]]:
    """Yield the goals that were measured."""
    for goal in GOALS:
        values = goal.values(results)
        if values:
            yield goal, spread(values)
