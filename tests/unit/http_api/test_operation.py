from __future__ import annotations

import re

import structlog

from allocation.service_layer.operations import status
from tests.unit.http_api.world import A_LINE, World


def test_it_is_ready_when_all_that_it_needs_is_well(world: World) -> None:
    answer = world.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "ready": True,
            "problems": {},
            "well": {"database": "ok", "kafka": "ok", "schema registry": "ok", "outbox": "2 rows"},
        },
    )


def test_alive_does_not_mean_ready(world: World) -> None:
    world.log.down = world.reads.down = world.registry.down = True
    response = world.client.get("/readyz")
    assert response.status_code == 503
    assert {name: text.split(" ")[:2] for name, text in response.json()["problems"].items()} == {
        "kafka": ["Kafka", "at"],
        "database": ["the", "database"],
        "schema registry": ["the", "schema"],
    }
    assert world.client.get("/healthz").status_code == 200


def test_without_a_relay_it_is_not_ready(world: World) -> None:
    world.reads.outbox = status.Backlog(7, 31.0)
    response = world.client.get("/readyz")
    assert (response.status_code, response.json()["problems"]) == (
        503,
        {"outbox": "7 rows wait, the oldest for 31.0 s: no relay sends them"},
    )


def test_who_decides_which_api_gets_calls_leaves_out_what_is_not_needed_for_them(world: World) -> None:
    world.registry.down, world.reads.outbox = True, status.Backlog(7, 31.0)
    assert world.client.get("/readyz?exclude=outbox").json()["problems"].keys() == {"schema registry"}
    response = world.client.get("/readyz?exclude=outbox&exclude=schema+registry&exclude=nothing")
    assert (response.status_code, response.json()["well"]) == (200, {"database": "ok", "kafka": "ok"})


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


def test_metrics_tell_every_check_as_those_of_the_other_parts_do(world: World) -> None:
    world.registry.down, world.reads.outbox = True, status.Backlog(7, 31.0)
    told = world.client.get("/metrics").text
    ready = re.findall(r'^allocation_ready\{check="(.*)"\} (.*)$', told, re.MULTILINE)
    assert dict(ready) == {"database": "1.0", "kafka": "1.0", "schema registry": "0.0", "outbox": "0.0"}
    assert "allocation_outbox_oldest_age_seconds 31.0" in told


def test_metrics_of_an_api_without_its_services_say_so_and_leave_gaps(world: World) -> None:
    world.log.down = world.reads.down = world.registry.down = True
    told = world.client.get("/metrics").text
    for check in ("database", "kafka", "schema registry"):
        assert f'allocation_ready{{check="{check}"}} 0.0' in told
    assert "allocation_outbox_rows" not in told


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
    for code in ("202", "400", "409", "413", "422", "503"):
        assert list(add_batch[code]["content"]) == ["application/json"]
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
