"""Commands through all parts, each a process, and what a collector is sent of it: one trace for each."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import redis

from tests import collectors, waiting
from tests.e2e import parts

if TYPE_CHECKING:
    from allocation import config

SENDER = "b7ad6b7169203331"
STOCKED, ORDERED, REFUSED = (character * 32 for character in "abc")


def call(url: str, trace: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"traceparent": f"00-{trace}-{SENDER}-01"})
    request.add_header("Content-Type", "application/json")
    with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=2 * parts.DEADLINE_S):
        pass


def test_a_command_and_all_that_comes_of_it_is_one_trace(initialised: config.Settings) -> None:
    prefix = initialised.topic_prefix
    # A call that is answered before its command is handled would not keep the next one behind it.
    patient = initialised.model_copy(update={"http_timeout_s": parts.DEADLINE_S})
    with collectors.collecting() as collector, contextlib.ExitStack() as running:
        more = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        names = ("worker", "relay", "bridge", "api")
        own = {name: running.enter_context(parts.running(name, patient, more=more)) for name in names}
        url = own["api"].logged("api.listening")["url"]
        own["bridge"].logged("bridge.inbound.subscribed")
        call(f"{url}/add_batch", STOCKED, {"ref": "b1", "sku": "LAMP", "qty": 10, "eta": None})
        call(f"{url}/allocate", ORDERED, {"orderid": "o1", "sku": "LAMP", "qty": 1})
        call(f"{url}/allocate", REFUSED, {"orderid": "o1", "sku": "NOTHING", "qty": 1})
        with contextlib.closing(redis.Redis.from_url(initialised.redis_url)) as client:
            client.publish(f"{prefix}allocate", json.dumps({"orderid": "o2", "sku": "LAMP", "qty": 1}))
        published = f"publish {prefix}line_allocated"
        waiting.wait_until(
            lambda: sum(span.name == published for span in collector.spans) == 2, deadline_s=parts.DEADLINE_S
        )
        assert [part.stop() for part in own.values()] == [0] * 4

    process: dict[str, Any] = {
        "outbox wait": {},
        f"send {prefix}line_allocated": {published: {}},
    }
    ordered, refused = collector.of_trace(ORDERED), collector.of_trace(REFUSED)
    assert collectors.tree(ordered, below=SENDER) == {"POST /allocate": {f"process {prefix}allocate": process}}
    assert {span.name: (span.service, span.kind) for span in ordered} == {
        "POST /allocate": ("allocation-api", "SERVER"),
        f"process {prefix}allocate": ("allocation-worker", "CONSUMER"),
        "outbox wait": ("allocation-relay", "INTERNAL"),
        f"send {prefix}line_allocated": ("allocation-relay", "PRODUCER"),
        published: ("allocation-bridge", "PRODUCER"),
    }
    assert all(span.began_ns <= span.ended_ns for span in ordered)
    assert [span.name for span in refused if span.is_error] == [f"process {prefix}allocate"]
    dead = f"send {prefix}allocation.dead_letter"
    assert collectors.tree(refused, below=SENDER) == {
        "POST /allocate": {f"process {prefix}allocate": {}, "outbox wait": {}, dead: {}}
    }
    (root,) = (span for span in collector.spans if span.name == f"send {prefix}allocate")
    assert collectors.tree(collector.of_trace(root.trace)) == {root.name: {f"process {prefix}allocate": process}}
