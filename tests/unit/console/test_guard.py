from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from allocation import config
from allocation.entrypoints.console import application, server
from tests.unit.console.world import World

CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("dead-letters/redrive", {"places": ["3:17"], "why": "mended"}),
    ("dead-letters/discard", {"places": ["3:17"], "why": "mended"}),
    ("parked/release", {"queue": "sku:LAMP", "why": "mended"}),
    ("parked/discard", {"ids": [1], "why": "mended"}),
)


def test_the_page_itself_may_change_things_with_the_token(world: World) -> None:
    for path, body in CHANGES:
        assert world.change(path, body).status_code == 200
    assert [asked[0] for asked in world.operations.asked] == ["redrive", "discard", "release", "discard"]


@pytest.mark.parametrize(("path", "body"), [*CHANGES, ("token", {})])
def test_without_a_token_nothing_can_be_changed(readonly_world: World, path: str, body: dict[str, Any]) -> None:
    answer = readonly_world.change(path, body)
    assert answer.status_code == 403
    assert "--token" in answer.json()["message"]
    assert readonly_world.operations.asked == []
    assert readonly_world.client.get("/api/console").json() == {"may_change": False}


@pytest.mark.parametrize(("path", "body"), [*CHANGES, ("token", {})])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": None}, 401),
        ({"authorization": "Bearer another one altogether"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": None, "cookie": "token=a token for the tests"}, 401),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:5011"}, 403),
        ({"origin": None, "sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": None}, 415),
        ({"host": "evil.example:5010", "origin": "http://evil.example:5010"}, 421),
    ],
)
def test_what_another_site_could_send_is_refused(
    world: World, path: str, body: dict[str, Any], headers: dict[str, str | None], status: int
) -> None:
    answer = world.change(path, body, **headers)
    assert (answer.status_code, answer.json().keys()) == (status, {"message"})
    assert world.operations.asked == []


def test_a_program_without_a_browser_needs_the_token_alone(world: World) -> None:
    assert world.change(origin=None, sec_fetch_site=None).status_code == 200


def test_a_token_that_is_no_ascii_is_refused_all_the_same(world: World) -> None:
    headers = {b"authorization": "Bearer tökén".encode(), b"content-type": b"application/json"}
    assert world.client.post("/api/token", content="{}", headers=headers).status_code == 401


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_change_nothing(world: World, method: str) -> None:
    assert world.client.request(method, "/api/parked/release").status_code in (401, 415)


@pytest.mark.parametrize(
    ("site", "status"), [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)]
)
def test_another_site_may_link_to_the_page_and_not_make_its_calls(world: World, site: str, status: int) -> None:
    assert world.client.get("/api/parked", headers={"sec-fetch-site": site}).status_code == status
    assert world.client.get("/", headers={"sec-fetch-site": site}).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost:5010", "127.0.0.1", "[::1]:5010", "LOCALHOST", "10.1.2.3:5010", "[fe80::1]", "0.0.0.0"]
)
def test_it_answers_by_localhost_and_by_addresses_which_no_name_server_can_bend(world: World, host: str) -> None:
    assert world.client.get("/api/console", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example:x", "", "1", "[1"],
)
def test_a_name_that_was_bent_to_this_machine_reads_nothing(world: World, host: str) -> None:
    for path in ("/", "/api/parked", "/api/live"):
        assert world.client.get(path, headers={"host": host}).status_code == 421


def test_it_answers_by_the_names_that_it_was_given_and_by_no_other() -> None:
    settings = config.load(
        _env_file=None, console_host="0.0.0.0", console_allowed_hosts="Console.example, stock.example"
    )
    world = World(names=server.names(settings))
    with world.client:
        for host, status in {
            "console.example": 200, "STOCK.example:443": 200, "localhost": 200, "evil.example": 421,
            "console.example.evil.example": 421,
        }.items():  # fmt: skip
            assert world.client.get("/api/console", headers={"host": host}).status_code == status


def test_the_name_that_it_listens_on_is_one_of_its_own() -> None:
    assert server.names(config.load(_env_file=None, console_host="stock.example")) == {"stock.example"}


@pytest.mark.parametrize("names", ["https://console.example", "console.example:5010", "a,,b", "*"])
def test_what_is_no_list_of_names_is_refused_at_the_start(names: str) -> None:
    with pytest.raises(config.SettingsError, match="ALLOCATION_CONSOLE_ALLOWED_HOSTS"):
        config.load(_env_file=None, console_allowed_hosts=names)


@pytest.fixture
def answered(world: World) -> list[Any]:
    return [world.client.get(path) for path in ("/", "/app.js", "/api/parked", "/nothing", "/api/story?kind=x&id=1")]


def test_every_answer_forbids_what_the_page_does_not_need(answered: list[Any]) -> None:
    for answer in answered:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers


STATIC = Path(str(application._STATIC))  # noqa: SLF001 - the files that are served


def test_the_page_builds_nothing_from_markup_and_loads_nothing_from_elsewhere() -> None:
    for file in STATIC.iterdir():
        text = file.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), file
        assert not re.search(r"(?:src|href|from|import)\s*[=(]?\s*[\"'](?:https?:)?//", text), file
    page = (STATIC / "index.html").read_text()
    assert not re.search(r"\son\w+=|\sstyle=|<script(?! type=\"module\" src=)", page)


def test_a_short_token_is_refused_at_the_start() -> None:
    settings = config.load(_env_file=None, console_token="short")
    with pytest.raises(config.SettingsError, match="has 5 characters, and needs 16") as refused:
        server.run(settings)
    assert "short" not in str(refused.value)


def test_the_token_is_in_no_text_of_the_settings() -> None:
    assert "a token for" not in repr(config.load(_env_file=None, console_token="a token for the tests"))
