from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from allocation.service_layer.operations import audit

if TYPE_CHECKING:
    from tests.unit.console.world import World


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("stock?prefix=LAMP&first=200&count=100", ("stock", "LAMP", 200, 100)),
        ("stock", ("stock", "", 0, 100)),
        ("story?kind=order&id=o%2F1", ("story", "order", "o/1", None)),
        ("story?kind=order&id=o1&sku=LAMP", ("story", "order", "o1", "LAMP")),
        ("dead-letters", ("dead_letters", True)),
        ("dead-letters?open=false", ("dead_letters", False)),
        ("parked", ("parked",)),
        ("plan", ("plan", None)),
        ("plan?since=2030-01-31T08:00:00Z", ("plan", datetime(2030, 1, 31, 8, tzinfo=UTC))),
        ("compare?schema=trial", ("compare", "trial")),
    ],
)
def test_what_is_read_needs_no_token(readonly_world: World, path: str, asked: tuple[Any, ...]) -> None:
    answer = readonly_world.client.get(f"/api/{path}")
    assert (answer.status_code, answer.json()) == (200, {"said": "done"})
    assert readonly_world.operations.asked == [asked]


@pytest.mark.parametrize(
    "path",
    ["stock?first=-1", "stock?count=501", "story?kind=table&id=1", "story?kind=sku&id=", "plan?since=now", "compare"],
)
def test_malformed_calls_are_told_what_is_wrong(world: World, path: str) -> None:
    answer = world.client.get(f"/api/{path}")
    assert answer.status_code == 422
    assert answer.json()["message"]
    assert world.operations.asked == []


@pytest.mark.parametrize(
    "body",
    [
        {"places": ["3:17"]},
        {"places": ["3:17"], "why": "  "},
        {"places": [], "why": "mended"},
        {"places": ["all"], "why": "mended"},
        {"places": ["3:17", 4], "why": "mended"},
        {"places": ["3:17"] * 501, "why": "mended"},
        {"places": ["3:17"], "why": "mended", "everything": True},
        [],
    ],
)
def test_a_change_without_a_reason_or_with_what_is_not_meant_is_refused(world: World, body: Any) -> None:
    assert world.change("dead-letters/redrive", body).status_code == 422
    assert world.operations.asked == []


def test_the_audit_is_told_who_and_why(world: World) -> None:
    world.change("parked/release", {"queue": "sku:LAMP", "why": " mended ", "who": "Ann"})
    assert world.operations.asked == [("release", "sku:LAMP", audit.Note("Ann by the console", "mended"))]


def test_a_service_that_is_down_is_said_in_one_line(world: World) -> None:
    world.operations.down = True
    for answer in (world.client.get("/api/stock"), world.change()):
        assert answer.status_code == 503
        assert answer.json() == {"message": "the database does not answer: it is down"}


def test_a_body_that_is_too_large_is_refused(world: World) -> None:
    assert world.change("parked/release", {"queue": "x" * 100_000, "why": "mended"}).status_code == 413


def test_the_page_and_its_parts_are_served(world: World) -> None:
    assert world.client.get("/").headers["content-type"].startswith("text/html")
    assert world.client.get("/style.css").status_code == 200
    assert world.client.get("/app.js").headers["content-type"].startswith("text/javascript")
    assert world.client.get("/../server.py").status_code == 404


def test_figures_come_as_server_sent_events_whatever_they_hold(world: World) -> None:
    answer = world.client.get("/api/live")
    assert answer.headers["content-type"].startswith("text/event-stream")
    first, *frames = answer.text.removesuffix("\n\n").split("\n\n")
    assert first == "retry: 2000"
    assert [frame.splitlines()[0] for frame in frames] == ["event: overview"] * 3
    figures = [json.loads(frame.splitlines()[1].removeprefix("data: ")) for frame in frames]
    assert [one["look"] for one in figures] == [1, 2, 3]
    assert {one["name"] for one in figures} == {"<b>\n\ndata: x"}
