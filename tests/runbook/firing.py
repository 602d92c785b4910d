"""Whether an alert fires: its own expression over what the parts say on /metrics, without a Prometheus.

Knows as much of PromQL as our rules have. A series counts from when it is first seen, as there; a rate is over the
time since `begin`, whatever its range. `for` is not waited for, and a limit of minutes may be given as one of seconds.
"""

from __future__ import annotations

import math
import operator
import re
import time
import urllib.error
import urllib.request
from concurrent import futures
from typing import TYPE_CHECKING, Any, NamedTuple

import promql_parser
import yaml
from prometheus_client import parser

from tests import waiting
from tests.runbook import recipes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEADLINE_S = 60.0
_RULES = yaml.safe_load((recipes.DOCUMENT.parents[1] / "deploy/prometheus/allocation.rules.yml").read_text())
RULES: dict[str, str] = {rule["alert"]: rule["expr"] for group in _RULES["groups"] for rule in group["rules"]}
_JOB = {"job": "allocation"}
_SCRAPE_TIMEOUT_S = 5.0  # longer than a part asks others for

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]

_AGGREGATES: dict[str, Callable[[list[float]], float]] = {"sum": math.fsum, "max": max}
_COMPARISONS = {"==": operator.eq, ">": operator.gt}
_ARITHMETIC = {"-": operator.sub, "/": operator.truediv}


class _Look(NamedTuple):
    at: float
    series: dict[str, Vector]


class Alerts:
    """The rules, for the parts that listen on these ports; `instances` may be added to."""

    def __init__(self, instances: dict[str, int]) -> None:
        self.instances = instances
        self._first = _Look(0.0, {})

    def begin(self) -> None:
        """Count from now on."""
        self._first = self._look()

    def await_firing(self, alert: str, *, above: float | None = None, **labels: str) -> None:
        """Wait until it fires for somebody with these labels."""
        wanted = set(labels.items())
        waiting.wait_until(lambda: any(wanted <= found for found in self._firing(alert, above)), deadline_s=DEADLINE_S)

    def await_quiet(self, *alerts: str, above: float | None = None) -> None:
        """Wait until none of these fires."""
        waiting.wait_until(lambda: not any(self._firing(alert, above) for alert in alerts), deadline_s=DEADLINE_S)

    def _firing(self, alert: str, above: float | None) -> Vector:
        tree: Any = promql_parser.parse(RULES[alert])
        evaluation = _Evaluation(self._first, self._look())
        if above is None:
            found = evaluation.value(tree)
        else:
            assert str(tree.op) == ">", f"{alert} has no limit"
            found = _compared(evaluation.value(tree.lhs), ">", above)
        assert isinstance(found, dict)
        return found

    def _look(self) -> _Look:
        series: dict[str, Vector] = {}
        with futures.ThreadPoolExecutor(len(self.instances)) as pool:
            answers = pool.map(_scraped, self.instances.values())
        for instance, samples in zip(self.instances, answers, strict=True):
            for name, labels, value in samples:
                series.setdefault(name, {})[frozenset({**labels, "instance": instance}.items())] = value
        return _Look(time.time(), series)


def _scraped(port: int) -> list[tuple[str, Mapping[str, str], float]]:
    """Return all samples of a part; of one that does not answer only that it is down."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_SCRAPE_TIMEOUT_S) as answer:
            text = answer.read().decode()
    except (OSError, urllib.error.URLError):
        return [("up", _JOB, 0.0)]
    families = parser.text_string_to_metric_families(text)
    return [("up", _JOB, 1.0), *((one.name, one.labels, one.value) for family in families for one in family.samples)]


class _Evaluation:
    """One evaluation; the methods are called as the nodes of the tree are."""

    def __init__(self, first: _Look, last: _Look) -> None:
        self._first = first
        self._last = last

    def value(self, node: Any) -> Vector | float:
        """Return a number, or the series that are left with their values."""
        found: Vector | float = getattr(self, type(node).__name__)(node)
        return found

    def NumberLiteral(self, node: Any) -> float:  # noqa: N802 - the parser's name, as below
        return float(node.val)

    def ParenExpr(self, node: Any) -> Vector | float:  # noqa: N802
        return self.value(node.expr)

    def VectorSelector(self, node: Any) -> Vector:  # noqa: N802
        return _selected(self._last, node)

    def AggregateExpr(self, node: Any) -> Vector:  # noqa: N802
        kept = set(node.modifier.labels) if node.modifier else set()
        groups: dict[Labels, list[float]] = {}
        for labels, value in _vector(self.value(node.expr)).items():
            groups.setdefault(frozenset(one for one in labels if one[0] in kept), []).append(value)
        aggregate = _AGGREGATES[str(node.op)]
        return {labels: aggregate(values) for labels, values in groups.items()}

    def Call(self, node: Any) -> Vector | float:  # noqa: N802
        if node.func.name == "time":
            return self._last.at
        before, now = (_selected(look, node.args[0].vector_selector) for look in (self._first, self._last))
        grown = {labels: _growth(before[labels], value) for labels, value in now.items() if labels in before}
        seconds = {"rate": self._last.at - self._first.at, "increase": 1.0}[node.func.name]
        return {labels: value / seconds for labels, value in grown.items()}

    def BinaryExpr(self, node: Any) -> Vector | float:  # noqa: N802
        left, right = self.value(node.lhs), self.value(node.rhs)
        word = str(node.op)
        if word == "unless":
            return {labels: value for labels, value in _vector(left).items() if labels not in _vector(right)}
        if word in _COMPARISONS:
            assert isinstance(right, float)
            return _compared(left, word, right)
        if isinstance(left, float):
            return {labels: _ARITHMETIC[word](left, value) for labels, value in _vector(right).items()}
        return _joined(left, word, _vector(right))


def _compared(left: Vector | float, word: str, right: float) -> Vector:
    return {labels: value for labels, value in _vector(left).items() if _COMPARISONS[word](value, right)}


def _joined(left: Vector, word: str, right: Vector) -> Vector:
    # What is divided by nothing is no number, and compares with none.
    return {labels: _ARITHMETIC[word](left[labels], right[labels]) for labels in left if right.get(labels)}


def _growth(before: float, now: float) -> float:
    return now - before if now >= before else now  # it was started again


def _vector(value: Vector | float) -> Vector:
    assert isinstance(value, dict)
    return value


def _selected(look: _Look, selector: Any) -> Vector:
    series = look.series.get(selector.name, {})
    return {labels: value for labels, value in series.items() if all(map(_matcher(labels), selector.matchers.matchers))}


def _matcher(labels: Labels) -> Any:
    values = dict(labels)

    def matches(matcher: Any) -> bool:
        value, kind = values.get(matcher.name, ""), str(matcher.op).rpartition(".")[2]
        is_same = bool(re.fullmatch(matcher.value, value)) if kind.endswith("Re") else value == matcher.value
        return is_same == (not kind.startswith("Not"))

    return matches
