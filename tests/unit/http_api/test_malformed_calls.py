from __future__ import annotations

import json
from typing import Any

import pytest

from allocation.entrypoints.http_api import limits
from tests.unit.http_api.world import A_BATCH, A_LINE, A_QUANTITY, World

MALFORMED: list[tuple[str, dict[str, Any], str]] = [
    ("/allocate", A_LINE | {"qty": "3"}, "qty"),
    ("/allocate", A_LINE | {"qty": 3.0}, "qty"),
    ("/allocate", A_LINE | {"qty": True}, "qty"),
    ("/allocate", A_LINE | {"qty": None}, "qty"),
    ("/allocate", A_LINE | {"qty": 0}, "qty"),
    ("/allocate", A_LINE | {"qty": -3}, "qty"),
    ("/allocate", A_LINE | {"qty": 2**31}, "qty"),
    ("/allocate", A_LINE | {"qty": float("nan")}, "qty"),
    ("/allocate", {"orderid": "o1", "sku": "CHAIR"}, "qty"),
    ("/allocate", A_LINE | {"sku": ""}, "sku"),
    ("/allocate", A_LINE | {"sku": 7}, "sku"),
    ("/allocate", A_LINE | {"sku": "\0"}, "sku"),
    ("/allocate", A_LINE | {"sku": "\ud800"}, "sku"),
    ("/allocate", A_LINE | {"orderid": "x" * 256}, "orderid"),
    ("/allocate", A_LINE | {"orderid": "é" * 128}, "orderid"),
    ("/allocate", A_LINE | {"orderid": ["o1"]}, "orderid"),
    ("/add_batch", A_BATCH | {"qty": 0}, "qty"),
    ("/add_batch", A_BATCH | {"ref": ""}, "ref"),
    ("/add_batch", A_BATCH | {"eta": ""}, "eta"),
    ("/add_batch", A_BATCH | {"eta": "tomorrow"}, "eta"),
    ("/add_batch", A_BATCH | {"eta": "2030-02-30"}, "eta"),
    ("/add_batch", A_BATCH | {"eta": "2030-01-31T00:00:00"}, "eta"),
    ("/add_batch", A_BATCH | {"eta": 20300131}, "eta"),
    ("/add_batch", A_BATCH | {"eta": "\u0662\u0660\u0663\u0660-\u0660\u0661-\u0660\u0661"}, "eta"),
    ("/change_batch_quantity", A_QUANTITY | {"qty": -1}, "qty"),
    ("/change_batch_quantity", A_QUANTITY | {"batchref": ""}, "batchref"),
    ("/change_batch_quantity", A_QUANTITY | {"sku": ""}, "sku"),
]


@pytest.mark.parametrize(("path", "body", "field"), MALFORMED)
def test_a_malformed_field_is_named_and_nothing_is_sent(
    world: World, path: str, body: dict[str, Any], field: str
) -> None:
    response = world.client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["message"].startswith(field)
    assert response.json()["detail"]
    assert world.log.messages == []


def test_every_malformed_field_is_named(world: World) -> None:
    message = world.client.post("/allocate", json={"sku": 1, "qty": "x"}).json()["message"]
    assert [part.split(":")[0] for part in message.split("; ")] == ["orderid", "sku", "qty"]


def test_unknown_keys_are_ignored(world: World) -> None:
    assert world.client.post("/allocate", json=A_LINE | {"note": "please"}).status_code == 201
    assert world.sent() == [["Allocate", A_LINE]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"orderid": "o1",}',
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"qty": 1' + b"0" * 5000,
    ],
)
def test_what_is_no_json_object_is_refused_by_name(world: World, content: bytes) -> None:
    response = world.client.post("/allocate", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code in {400, 422}
    assert "body" in response.json()["message"]
    assert world.log.messages == []


def test_a_body_that_is_not_said_to_be_json_is_told_so(world: World) -> None:
    response = world.client.post("/allocate", content=json.dumps(A_LINE), headers={"Content-Type": "text/plain"})
    assert response.status_code == 422
    assert "application/json" in response.json()["message"]


@pytest.mark.parametrize("in_pieces", [False, True])
def test_a_body_that_is_too_large_is_refused(world: World, in_pieces: bool) -> None:  # noqa: FBT001
    body = json.dumps(A_LINE | {"note": "x" * limits.MAX_BODY_BYTES}).encode()
    content = iter([body[:1000], body[1000:]]) if in_pieces else body
    response = world.client.post("/allocate", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert response.json()["message"].startswith("body: ")
