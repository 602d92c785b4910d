"""A schema registry that is away: every part starts and works by the ids that were kept."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx2
import redis

from allocation import bootstrap
from tests import waiting
from tests.e2e import parts

if TYPE_CHECKING:
    from allocation import config

NOWHERE = "http://127.0.0.1:1"


def test_all_parts_start_and_do_their_work_while_the_registry_is_away(initialised: config.Settings) -> None:
    lonely = initialised.model_copy(update={"schema_registry_url": NOWHERE, "http_timeout_s": parts.DEADLINE_S})
    with contextlib.ExitStack() as opened:
        started = {name: opened.enter_context(parts.running(name, lonely)) for name in ("worker", "relay", "bridge")}
        api = opened.enter_context(parts.running("api", lonely))
        client: Any = redis.Redis.from_url(lonely.redis_url)
        heard = opened.enter_context(client.pubsub())
        heard.subscribe(bootstrap.topic_names(lonely).line_allocated)
        assert heard.get_message(timeout=parts.DEADLINE_S)["type"] == "subscribe"

        started["worker"].logged("worker.assigned")
        url = api.logged("api.listening")["url"]
        with httpx2.Client(base_url=url, timeout=2 * parts.DEADLINE_S) as http:
            assert http.post("/add_batch", json={"ref": "b1", "sku": "LAMP", "qty": 10}).status_code == 201
            line = {"orderid": "o1", "sku": "LAMP", "qty": 3}
            assert http.post("/allocate", json=line).json() == {"batchref": "b1"}
            # A look that takes too long on a busy machine names others, too.
            waiting.wait_until_equal(
                lambda: set(http.get("/readyz").json()["problems"]), {"schema registry"}, deadline_s=parts.DEADLINE_S
            )
            without = {"exclude": "schema registry"}
            waiting.wait_until_equal(
                lambda: http.get("/readyz", params=without).status_code, 200, deadline_s=parts.DEADLINE_S
            )
        assert json.loads(heard.get_message(timeout=parts.DEADLINE_S)["data"]) == {**line, "batchref": "b1"}
        assert all(part.stop() == 0 for part in (*started.values(), api))
