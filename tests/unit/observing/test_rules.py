"""Alert rules, dashboard and guide name what there is: metrics and labels that we export, recipes that are written."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import prometheus_client
import promql_parser
import pytest
import yaml

from allocation.adapters.prometheus import hearing, looking, metrics
from allocation.entrypoints.http_api import metrics as http_metrics
from allocation.service_layer.operations import status

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/operations.md").read_text()
GROUPS = yaml.safe_load((ROOT / "deploy/prometheus/allocation.rules.yml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "deploy/grafana/allocation.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]

_SUFFIXES = ("", "_bucket", "_sum", "_count")
_SCRAPED = {"job", "instance"}  # what Prometheus adds to everything


def exported() -> dict[str, set[str]]:
    """Return the names of all samples that there can be, each with its labels."""
    found = {name: set(_SCRAPED) for name in ("up", "process_resident_memory_bytes", "process_cpu_seconds_total")}
    for one in metrics.ALL:
        for suffix in _SUFFIXES if one.buckets else ("",):
            found[one.name + suffix] = _SCRAPED | set(one.labels) | ({"le"} if suffix == "_bucket" else set())
    return found


EXPORTED = exported()


def selected_by(query: str) -> dict[str, set[str]]:
    """Return the metrics that a query selects, each with the labels it matches; raises ValueError for no PromQL."""
    found: dict[str, set[str]] = defaultdict(set)

    def visit(expression: promql_parser.Expr) -> None:
        if isinstance(expression, promql_parser.MatrixSelector):
            expression = expression.vector_selector
        if isinstance(expression, promql_parser.VectorSelector):
            found[expression.name or ""] |= {matcher.name for matcher in expression.matchers.matchers}

    promql_parser.walk(parsed(query), visit)
    return found


def grouped_by(query: str) -> set[str]:
    """Return the labels that a query aggregates by or joins on."""
    found: set[str] = set()

    def visit(expression: promql_parser.Expr) -> None:
        if isinstance(expression, promql_parser.AggregateExpr) and expression.modifier:
            found.update(expression.modifier.labels)
        if isinstance(expression, promql_parser.BinaryExpr) and expression.modifier and expression.modifier.matching:
            found.update(expression.modifier.matching.labels)

    promql_parser.walk(parsed(query), visit)
    return found


def parsed(query: str) -> promql_parser.Expr:
    """Return a query of Prometheus, or of a dashboard, as a tree whose types fit."""
    return promql_parser.parse(query.replace("$__rate_interval", "1m"))


def check(query: str) -> None:
    """Fail unless a query is PromQL and asks for metrics and labels that we export."""
    selected = selected_by(query)
    assert selected
    assert set(selected) <= set(EXPORTED)
    for name, labels in selected.items():
        assert labels <= EXPORTED[name]
    assert grouped_by(query) <= set().union(*(EXPORTED[name] for name in selected))


def anchors() -> set[str]:
    """Return the anchors of the guide's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", GUIDE, flags=re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_what_we_export_and_leads_to_its_recipe(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    check(rule["expr"])
    assert promql_parser.parse_duration(rule.get("for", "1m"))
    for name in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
        assert any(name in EXPORTED[metric] for metric in selected_by(rule["expr"]))
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "runbook_url"}
    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert file == "docs/operations.md"
    assert anchor in anchors()
    assert f"`{rule['alert']}`" in GUIDE


def test_the_guide_names_no_alert_that_does_not_exist() -> None:
    assert set(re.findall(r"`(Allocation[A-Z]\w+)`", GUIDE)) == {rule["alert"] for rule in RULES}


def test_links_within_the_guide_lead_somewhere() -> None:
    assert set(re.findall(r"\]\(#([a-z-]+)\)", GUIDE)) <= anchors()


@pytest.mark.parametrize("query", QUERIES)
def test_the_dashboard_asks_for_what_we_export(query: str) -> None:
    check(query)


@pytest.mark.parametrize(
    "wrong",
    [
        "sum(up",
        "rate(up)",
        'up{instance="a"',
        "allocation_no_such_metric",
        'allocation_ready{outcome="handled"}',
        "sum by (sku) (allocation_ready)",
    ],
)
def test_what_is_no_promql_or_asks_for_what_nobody_exports_would_be_found(wrong: str) -> None:
    with pytest.raises((ValueError, AssertionError)):
        check(wrong)


def test_the_dashboard_shows_every_metric_that_is_not_for_alerts_alone() -> None:
    shown = {name.removesuffix(suffix) for query in QUERIES for name in selected_by(query) for suffix in _SUFFIXES}
    hidden = {metrics.DELIVERED.name, metrics.AWAITED.name, metrics.PARKED_AGE.name}
    assert {one.name for one in metrics.ALL} - shown == hidden


def test_the_dashboard_s_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("described", metrics.ALL, ids=lambda one: str(one.name))
def test_the_guide_tells_what_a_metric_means(described: metrics.Description) -> None:
    labels = ", ".join(f"`{label}`" for label in described.labels)
    assert f"| `{described.name}` | {labels} | {described.meaning} |".replace("|  |", "| |") in GUIDE


def test_what_is_described_is_what_is_exported() -> None:
    registries = [prometheus_client.CollectorRegistry() for _ in range(3)]
    hearing.WorkerSignals(registries[0])
    hearing.RelaySignals(registries[1], dead_letter_topic="dead", journal_topic="journal")
    hearing.BridgeSignals(registries[2])
    nothing = status.Backlog(0, None)
    database = status.DatabaseFigures(next_offsets={}, outbox=nothing, quarantined=nothing, parked={}, owners={})
    registries[0].register(looking.Figures(look=lambda: looking.Found({}, database, ())))
    families = {family.name for one in (*registries, http_metrics.Metrics().registry) for family in one.collect()}
    described = {one.name.removesuffix("_total") for one in metrics.ALL}
    assert {name for name in families if not name.startswith("process_")} == described


def test_no_label_is_one_that_grows_without_end() -> None:
    labels = {label for one in metrics.ALL for label in one.labels}
    assert not labels & {"sku", "orderid", "batchref", "ref", "id", "key", "offset"}
