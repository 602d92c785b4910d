"""The console as a part of `allocation run`."""

from __future__ import annotations

import json

import pytest

from allocation import config
from allocation.entrypoints.cli import supervising


def parts_of(**given: object) -> set[str]:
    return {part for stage in supervising.stages_of(config.load(_env_file=None, **given)) for part in stage}


def test_it_is_served_where_a_port_is_set_for_it() -> None:
    assert parts_of(console_port=5010) - parts_of() == {"console"}


def watched(**given: object) -> dict[str, str]:
    settings = config.load(_env_file=None, **given)
    found: dict[str, str] = json.loads(
        supervising.own_settings("console", settings).get("ALLOCATION_CONSOLE_PARTS", "{}")
    )
    return found


def test_it_asks_the_parts_of_the_same_supervisor() -> None:
    assert watched(health_port=7000, http_port=5005) == {
        "worker": "http://127.0.0.1:7000",
        "relay": "http://127.0.0.1:7001",
        "bridge": "http://127.0.0.1:7002",
        "maintenance": "http://127.0.0.1:7003",
        "api": "http://127.0.0.1:5005",
    }


@pytest.mark.parametrize(("host", "reached"), [("0.0.0.0", "localhost"), ("::1", "[::1]"), ("vm", "vm")])
def test_it_reaches_them_where_they_listen(host: str, reached: str) -> None:
    assert watched(health_port=7000, http_host=host)["worker"] == f"http://{reached}:7000"


def test_what_is_set_by_hand_stays() -> None:
    assert watched(health_port=7000, console_parts={"worker": "http://vm:1"}) == {}
    assert watched() == {}


def test_an_address_that_is_none_is_refused_with_its_name() -> None:
    with pytest.raises(config.SettingsError, match="ALLOCATION_CONSOLE_PARTS"):
        config.load(_env_file=None, console_parts={"worker": "vm:5006"})
