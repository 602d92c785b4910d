"""One order line: allocated over HTTP, moved by a message on Redis, announced on Kafka and on Redis."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from allocation import bootstrap
from allocation.adapters.redis import connections
from allocation.entrypoints.cli.story import outside, telling

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allocation.entrypoints.cli.story import system as systems

SKU = "RETRO-LAMPSHADE"
LINE = {"orderid": "order-1", "sku": SKU, "qty": 10}
EARLY, LATE = "early-batch", "late-batch"


def tell_it(tell: telling.Teller, system: systems.System) -> None:
    """Tell it; raises `StoryFailed` as soon as something comes out otherwise."""
    names = bootstrap.topic_names(system.settings)
    tell.chapter("One order line: in over HTTP, moved by Redis, told on Kafka and Redis")
    with (
        connections.connect(system.settings.redis_url) as client,
        outside.subscribed(client, names.line_allocated) as next_on_redis,
    ):
        _buy(tell, system)
        _post(tell, system, "/allocate", LINE, expected={"batchref": EARLY})
        _show_event(tell, system, names.line_allocated, EARLY)
        _show_redis(tell, names.line_allocated, next_on_redis(), expected=EARLY)

        tell.say("")
        tell.say(f"Only 5 of the 50 pieces of {EARLY} will come; the old program that knows says so on Redis:")
        change = json.dumps({"batchref": EARLY, "qty": 5})
        tell.label("Redis", f"PUBLISH {names.change_batch_quantity} {change}")
        began = time.monotonic()
        client.publish(names.change_batch_quantity, change)
        moved = next_on_redis()
        took_s = time.monotonic() - began

        _show_event(tell, system, names.line_deallocated, EARLY)
        _show_event(tell, system, names.line_allocated, LATE)
        _show_redis(tell, names.line_allocated, moved, expected=LATE)
        tell.say(f"From Redis through Kafka and the database and back: {took_s * 1000:.0f} ms.")
    answer = system.api.get(f"/allocations/{LINE['orderid']}")
    tell.label("HTTP", f"GET /allocations/{LINE['orderid']} → {answer}")
    _check(answer.body[0]["batchref"] == LATE, f"the line should be in {LATE} now; the API answers {answer}")


def _buy(tell: telling.Teller, system: systems.System) -> None:
    today = datetime.now(UTC).date()
    tell.say("Two batches of one SKU are bought. They are on their way, one arrives before the other:")
    for ref, days in ((EARLY, 30), (LATE, 60)):
        batch = {"ref": ref, "sku": SKU, "qty": 50, "eta": (today + timedelta(days=days)).isoformat()}
        _post(tell, system, "/add_batch", batch, expected="OK")
    tell.say("An order line comes in. The API puts it on Kafka, as anyone could, and waits for the outcome:")


def _post(
    tell: telling.Teller, system: systems.System, path: str, body: Mapping[str, object], *, expected: object
) -> None:
    answer = system.api.post(path, body)
    tell.label("HTTP", f"POST {path} {json.dumps(body)} → {answer}")
    _check(answer.body == expected, f"POST {path} should answer {expected}; it answers {answer}")


def _show_event(tell: telling.Teller, system: systems.System, topic: str, batchref: str) -> None:
    wanted = LINE | {"batchref": batchref}
    tell.record(outside.event(system.settings, topic, lambda fields: fields == wanted))


def _show_redis(tell: telling.Teller, channel: str, message: str, *, expected: str) -> None:
    tell.label("Redis", f"message on {channel}")
    tell.label("", message, style="green")
    _check(json.loads(message) == LINE | {"batchref": expected}, f"Redis should name {expected}; it says {message}")


def _check(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads like an assertion
    if not holds:
        raise telling.StoryFailed(otherwise)
