"""The benchmark still runs, and what it counts is right; its figures are no matter here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from tests.bench import bench, options, plot, report

if TYPE_CHECKING:
    from allocation import devstack


# One of each kind; `python -m tests.bench --smoke` goes through all.
CASES = ("book", "limit", "ours", "latency at 50/s, ours", "reallocation storm", "relay alone", "replay")


@pytest.mark.long
def test_each_kind_of_measurement_runs_and_counts_right(endpoints: devstack.Endpoints) -> None:
    sizes = options.SMOKE
    on = bench.Bench(endpoints=endpoints, servers={}, sizes=sizes)

    found = bench.run(on, bench.SCENARIOS, rounds=1, tell=lambda _: None, only=CASES)

    assert set(found) == set(CASES)
    counts = {case: rounds[0]["count"] for case, rounds in found.items()}
    assert counts["limit"] == counts["ours"] == counts["replay"] == sizes.commands
    assert counts["book"] == sizes.book_commands
    assert counts["latency at 50/s, ours"] == sizes.rates[0] * sizes.latency_s
    assert counts["relay alone"] == sizes.outbox_rows
    assert counts["reallocation storm"] == sizes.storm_lines
    assert "ours ÷ limit" in report.table(found)
    assert json.loads(report.as_json(found, sizes))["rounds"] == found
    assert ElementTree.fromstring(plot.svg(found)).tag.endswith("svg")
