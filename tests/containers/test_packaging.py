from __future__ import annotations

import pytest

from tests.containers import system

pytestmark = pytest.mark.containers


@pytest.mark.parametrize("service", [*system.INFRASTRUCTURE, *system.PARTS])
def test_every_service_reports_its_health(service: str) -> None:
    system.wait_healthy(service)


@pytest.mark.parametrize("service", system.PARTS)
def test_every_part_runs_as_an_ordinary_user(service: str) -> None:
    assert system.user(service) not in {"", "0", "root"}
