"""`verify --every`: a comparison again and again, through outages, until something differs."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from typer import testing

from allocation.entrypoints.cli import app, failures, verifying
from allocation.service_layer.operations.verify import findings, verification

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

LINES = findings.Check.LINES
FINDING = findings.Finding(LINES, "order o1", "is in no batch")
AGREEING = verification.Report(compared={LINES: 7}, counts={}, findings=(), notes={})
DIFFERING = verification.Report(compared={LINES: 7}, counts={LINES: 1}, findings=(FINDING,), notes={})


def _out_of_reach() -> verification.Report:
    failures.give_up("the database does not answer", status=verifying.CANNOT_TELL)


def test_it_goes_on_through_an_outage_and_while_all_agree_and_ends_with_the_first_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Callable[[], verification.Report]] = [_out_of_reach, lambda: AGREEING, lambda: DIFFERING]
    slept: list[float] = []
    monkeypatch.setattr(verifying, "compare", lambda _settings, *, keep: (found.pop(0) if keep else _out_of_reach)())
    monkeypatch.setattr(time, "sleep", slept.append)

    result = testing.CliRunner().invoke(app.app, ["verify", "--every", "60", "--json", "--max-findings", "3"])

    assert (result.exit_code, found, slept) == (verifying.DISAGREE, [], [60.0, 60.0])
    assert result.stderr == "allocation: the database does not answer\n"
    agreed, _, differed = result.stdout.partition("\n")
    assert (json.loads(agreed)["agree"], json.loads(agreed)["compared"]) == (True, 7)
    assert json.loads(differed)["findings"] == [{"check": "lines", "subject": "order o1", "text": "is in no batch"}]


def test_without_it_what_cannot_be_told_ends_with_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "compare", lambda _settings, *, keep: _out_of_reach())  # noqa: ARG005
    result = testing.CliRunner().invoke(app.app, ["verify"])
    assert (result.exit_code, result.stdout) == (verifying.CANNOT_TELL, "")
