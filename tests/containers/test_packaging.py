from __future__ import annotations

import json

import httpx2
import pytest

from tests import waiting
from tests.containers import system

pytestmark = pytest.mark.containers


@pytest.mark.parametrize("service", [*system.INFRASTRUCTURE, *system.PARTS])
def test_every_service_reports_its_health(service: str) -> None:
    system.wait_healthy(service)


@pytest.mark.parametrize("service", system.PARTS)
def test_every_part_runs_as_an_ordinary_user(service: str) -> None:
    assert system.user(service) not in {"", "0", "root"}


def test_the_console_shows_the_system_and_changes_nothing() -> None:
    page = httpx2.get(system.CONSOLE_URL, timeout=10)
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (200, "text/html")
    assert httpx2.get(f"{system.CONSOLE_URL}/api/stock", timeout=10).status_code == 200
    assert httpx2.post(f"{system.CONSOLE_URL}/api/parked/release", json={}, timeout=10).status_code == 403


def test_the_status_tells_how_each_part_is() -> None:
    def told() -> tuple[bool, dict[str, str], set[str]]:
        found = json.loads(system.status().stdout)
        return found["ok"], found["problems"], set(found["parts"])

    # A part that is asked at a busy moment is told to be silent.
    waiting.wait_until_equal(told, (True, {}, set(system.PARTS) - {"console"}), deadline_s=60)
