from __future__ import annotations

import re

import structlog

from tests.unit.http_api.world import A_LINE, World


def test_alive_does_not_mean_ready(world: World) -> None:
    assert world.client.get("/readyz").json() == {
        "ready": True,
        "problems": {},
        "well": {"database": "ok", "kafka": "ok"},
    }
    world.log.down = world.reads.down = True
    response = world.client.get("/readyz")
    assert response.status_code == 503
    assert "nowhere:9092" in response.json()["problems"]["kafka"]
    assert "database" in response.json()["problems"]["database"]
    assert world.client.get("/healthz").status_code == 200


def test_metrics_count_calls_by_route_not_by_path(world: World) -> None:
    world.client.post("/allocate", json=A_LINE)
    world.client.get("/allocations/o1")
    world.client.get("/no/such/path")
    response = world.client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    for labels in (
        'method="POST",route="/allocate",status="201"',
        'method="GET",route="/allocations/{orderid:path}",status="404"',
        'method="GET",route="(none)",status="404"',
    ):
        assert f"allocation_http_call_seconds_count{{{labels}}} 1.0" in response.text
    assert "allocation_http_waiting_commands 0.0" in response.text


def test_the_documentation_needs_no_other_server(world: World) -> None:
    page = world.client.get("/docs")
    assert page.status_code == 200
    needed = re.findall('(?:src|href)="([^"]+)"', page.text)
    assert any(path.endswith(".js") for path in needed)
    for path in (*needed, "/openapi.json"):
        assert path.startswith("/")
        assert world.client.get(path).status_code == 200


def test_the_documentation_tells_text_from_json(world: World) -> None:
    paths = world.client.get("/openapi.json").json()["paths"]
    add_batch = paths["/add_batch"]["post"]["responses"]
    assert list(add_batch["201"]["content"]) == ["text/plain"]
    for status in ("202", "400", "409", "413", "422", "503"):
        assert list(add_batch[status]["content"]) == ["application/json"]
    assert "422" not in paths["/allocations/{orderid}"]["get"]["responses"]


def test_an_unknown_path_points_to_the_documentation(world: World) -> None:
    response = world.client.get("/nothing")
    assert response.status_code == 404
    assert "/docs" in response.json()["message"]


def test_the_wrong_method_is_told_the_right_one(world: World) -> None:
    response = world.client.get("/allocate")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["message"]


def test_a_failure_of_ours_is_logged_and_shows_no_traceback(world: World) -> None:
    world.reads.outcome = lambda commandid: 1 / 0  # type: ignore[method-assign,assignment,return-value]  # noqa: ARG005
    with structlog.testing.capture_logs() as lines:
        response = world.client.get("/commands/c1")
    assert response.status_code == 500
    assert list(response.json()) == ["message"]
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["api.failed"]
