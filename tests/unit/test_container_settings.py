from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from allocation import config
from allocation.devstack import kafka
from tests.containers import system

PROJECT = Path(__file__).parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((PROJECT / "docker-compose.kafka.yml").read_text())["services"]
PARTS = {name: service for name, service in SERVICES.items() if service.get("command", [""])[0] == name}


@pytest.mark.parametrize("file", ["docker-compose.kafka.yml", "Dockerfile"])
def test_a_container_is_given_only_settings_that_exist(file: str) -> None:
    given = set(re.findall(r"ALLOCATION_[A-Z_]+", (PROJECT / file).read_text()))
    assert given
    assert given <= {f"ALLOCATION_{name.upper()}" for name in config.Settings.model_fields}


def test_the_tests_of_the_containers_know_all_of_them() -> None:
    assert set(PARTS) - {"init"} == set(system.PARTS)
    assert set(SERVICES) == {*system.PARTS, *system.INFRASTRUCTURE, "init"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"init"}))
def test_a_service_says_how_it_is_and_is_published_on_this_machine_only(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"]
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", ["worker", "relay", "bridge", "maintenance", "api"])
def test_a_part_is_healthy_when_it_can_do_its_work_which_it_is_asked_where_it_says_so(name: str) -> None:
    *_, script = PARTS[name]["healthcheck"]["test"]
    asked: dict[str, str] = json.loads(PARTS["console"]["environment"]["ALLOCATION_CONSOLE_PARTS"])
    assert f"/dev/tcp/localhost/{asked[name].rpartition(':')[2]};" in script
    assert "GET /readyz HTTP" in script
    assert "grep -q '^HTTP/1.. 200 '" in script


def test_console_status_and_prometheus_ask_every_part_that_has_a_health_port() -> None:
    asked: dict[str, str] = json.loads(PARTS["console"]["environment"]["ALLOCATION_CONSOLE_PARTS"])
    assert set(asked) == set(PARTS) - {"init", "console"}
    scraped = yaml.safe_load((PROJECT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = {target for one in scraped for config_ in one["static_configs"] for target in config_["targets"]}
    assert {f"http://{target}" for target in targets} == set(asked.values())


def test_the_console_changes_nothing_unless_its_caller_gives_a_token() -> None:
    assert PARTS["console"]["environment"]["ALLOCATION_CONSOLE_TOKEN"] is None


def test_kafka_gives_up_silent_members_as_soon_as_that_of_the_local_stack() -> None:
    environment = SERVICES["kafka"]["environment"]
    groups = {name: value for name, value in kafka.SETTINGS.items() if name.startswith("group.")}
    assert groups["group.consumer.session.timeout.ms"] == "3000"  # what docs/guarantees.md reckons with
    assert {name: str(environment.get(f"KAFKA_{name.upper().replace('.', '_')}")) for name in groups} == groups
