from __future__ import annotations

import pytest

from allocation import views
from tests.unit.http_api.world import A_LINE, World


def test_allocations_of_an_order_are_listed(world: World) -> None:
    world.reads.lines["o1"] = (views.AllocatedLine("CHAIR", "b1", 3), views.AllocatedLine("TABLE", "b2", 1))
    response = world.client.get("/allocations/o1")
    assert response.status_code == 200
    assert response.json() == [
        {"sku": "CHAIR", "batchref": "b1", "qty": 3},
        {"sku": "TABLE", "batchref": "b2", "qty": 1},
    ]


@pytest.mark.parametrize(
    ("orderid", "path"),
    [
        ("a/b", "/allocations/a/b"),
        ("a/b", "/allocations/a%2Fb"),
        ("é ü?", "/allocations/%C3%A9%20%C3%BC%3F"),
        ("a/", "/allocations/a/"),
    ],
)
def test_an_order_may_have_any_name(world: World, orderid: str, path: str) -> None:
    world.reads.lines[orderid] = (views.AllocatedLine("CHAIR", "b1", 3),)
    assert world.client.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/allocations/o2", "/allocations/", "/allocations/%00", "/allocations/%ff"])
def test_an_order_without_allocations_is_not_found(world: World, path: str) -> None:
    response = world.client.get(path)
    assert response.status_code == 404
    assert "order" in response.json()["message"]


def test_a_handled_command_shows_its_result(world: World) -> None:
    world.log.outcome = {"status": "handled", "result": None}
    location = world.client.post("/allocate", json=A_LINE, headers={"Idempotency-Key": "a/b?c"}).headers["location"]
    assert world.client.get(location).json() == {
        "commandid": "a/b?c",
        "source": "allocation/http",
        "status": "handled",
        "result": None,
        "topic": "allocate",
        "partition": 3,
        "offset": 0,
    }


@pytest.mark.parametrize("status", ["refused", "waiting"])
def test_a_command_without_result_shows_why(world: World, status: str) -> None:
    world.log.outcome = {"status": status, "reason": "invalid_sku", "error": "Invalid sku CHAIR"}
    location = world.client.post("/allocate", json=A_LINE).headers["location"]
    shown = world.client.get(location).json()
    assert (shown["status"], shown["reason"], shown["message"]) == (status, "invalid_sku", "Invalid sku CHAIR")
    assert "result" not in shown


def test_an_unknown_command_is_not_found(world: World) -> None:
    response = world.client.get("/commands/nobody")
    assert response.status_code == 404
    assert "nobody" in response.json()["message"]


@pytest.mark.parametrize("path", ["/allocations/o1", "/commands/c1"])
def test_a_read_without_a_database_is_told_to_come_back(world: World, path: str) -> None:
    world.reads.down = True
    response = world.client.get(path)
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "database" in response.json()["message"]
