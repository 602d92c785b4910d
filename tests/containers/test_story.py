from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.containers import events, system

if TYPE_CHECKING:
    import redis
    from redis.client import PubSub

pytestmark = pytest.mark.containers


def test_shrinking_a_batch_on_redis_moves_its_line_and_both_sides_hear_of_it(
    unique: str, kafka_events: events.Reader, redis_client: redis.Redis, redis_events: PubSub
) -> None:
    sku, early, late, order = f"LAMP-{unique}", f"early-{unique}", f"late-{unique}", f"order-{unique}"
    line: dict[str, str | int] = {"orderid": order, "sku": sku, "qty": 10}
    assert system.post("/add_batch", ref=late, sku=sku, qty=100, eta="2031-02-01").status_code == 201
    assert system.post("/add_batch", ref=early, sku=sku, qty=100, eta="2031-01-01").status_code == 201

    answer = system.post("/allocate", **line)

    assert (answer.status_code, answer.json()) == (201, {"batchref": early})
    allocated = kafka_events.wait_for("line_allocated", **line)
    assert allocated.fields == line | {"batchref": early}
    assert allocated.key == sku
    assert allocated.headers["ce_type"] == "allocation.LineAllocated"
    assert _next_on_redis(redis_events, order) == line | {"batchref": early}

    redis_client.publish("change_batch_quantity", json.dumps({"batchref": early, "qty": 5}))

    left = kafka_events.wait_for("line_deallocated", **line)
    moved = kafka_events.wait_for("line_allocated", **line | {"batchref": late})
    assert left.fields == line | {"batchref": early}
    assert int(moved.headers["ce_sequence"]) == int(left.headers["ce_sequence"]) + 1
    assert moved.headers["ce_causationid"] == left.headers["ce_causationid"]
    assert _next_on_redis(redis_events, order) == line | {"batchref": late}
    assert [entry["batchref"] for entry in system.call("GET", f"/allocations/{order}").json()] == [late]


def test_an_order_that_finds_no_room_is_announced_as_out_of_stock(unique: str, kafka_events: events.Reader) -> None:
    sku, order = f"CHAIR-{unique}", f"order-{unique}"
    system.post("/add_batch", ref=f"batch-{unique}", sku=sku, qty=9, eta=None)

    answer = system.post("/allocate", orderid=order, sku=sku, qty=10)

    assert (answer.status_code, answer.json()) == (201, {"batchref": None})
    assert kafka_events.wait_for("out_of_stock", orderid=order).fields["sku"] == sku


def test_an_unknown_sku_is_refused_by_name(unique: str) -> None:
    answer = system.post("/allocate", orderid=f"order-{unique}", sku=f"NONE-{unique}", qty=1)
    assert (answer.status_code, answer.json()["message"]) == (400, f"Invalid sku NONE-{unique}")


def _next_on_redis(subscription: PubSub, order: str) -> dict[str, object]:
    """Return the next message about the order; others may come from elsewhere."""
    while True:
        message = subscription.get_message(timeout=events.DEADLINE_S)
        assert message is not None, f"Nothing about {order} on Redis"
        fields: dict[str, object] = json.loads(message["data"])
        if fields["orderid"] == order:
            return fields
