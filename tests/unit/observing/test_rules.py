"""Alert rules, dashboard and guide name what there is: metrics that we export, recipes that are written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import prometheus_client
import pytest
import yaml

from allocation.adapters.prometheus import hearing, looking, metrics
from allocation.entrypoints.http_api import metrics as http_metrics
from allocation.service_layer.operations import status

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/operations.md").read_text()
GROUPS = yaml.safe_load((ROOT / "deploy/prometheus/allocation.rules.yml").read_text())["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "deploy/grafana/allocation.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]

OTHERS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
_SUFFIXES = ("", "_bucket", "_sum", "_count")


def exported() -> set[str]:
    """Return the names of all samples that there can be."""
    return OTHERS | {one.name + suffix for one in metrics.ALL for suffix in (_SUFFIXES if one.buckets else ("",))}


def named_by(query: str) -> Iterator[str]:
    """Yield the metrics in a query: no label, no matched value, no function."""
    without_matchers = re.sub(r"\{[^}]*\}", "", query)
    without_labels = re.sub(r"\bby\s*\([^)]*\)", "", without_matchers)
    yield from re.findall(r"\b(?:up|(?:allocation|messaging|process)_[a-z_]+)\b", without_labels)


def anchors() -> set[str]:
    """Return the anchors of the guide's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", GUIDE, flags=re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_what_we_export_and_leads_to_its_recipe(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    names = set(named_by(rule["expr"]))
    assert names
    assert names <= exported()
    assert is_balanced(rule["expr"])
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
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
    names = set(named_by(query))
    assert names
    assert names <= exported()
    assert is_balanced(query)


def test_the_dashboard_shows_every_metric_that_is_not_for_alerts_alone() -> None:
    shown = {name.removesuffix(suffix) for query in QUERIES for name in named_by(query) for suffix in _SUFFIXES}
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


def is_balanced(query: str) -> bool:
    return all(query.count(opening) == query.count(closing) for opening, closing in ("()", "[]", "{}"))
