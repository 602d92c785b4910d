"""What comes in by HTTP and Redis, and what goes out, when API and bridge are killed."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from concurrent import futures
from typing import TYPE_CHECKING, Any

import pytest
import redis

from tests import waiting
from tests.chaos.oracle import avro

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos import processes
    from tests.chaos import system as systems

BRIDGE = ("bridge.before_forward", "bridge.before_commit", "bridge.after_forward", "bridge.after_delivery")
CALLS = 60
_PAUSE = threading.Event()  # never set


def call(url: str, body: dict[str, Any], key: str) -> tuple[int, Any] | None:
    """Call once; None when there was no answer."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None
    except OSError:
        return None


class Callers:
    """Programs that repeat their call with the same key until they have its outcome."""

    def __init__(self) -> None:
        self.url = ""
        self.answers: dict[str, Any] = {}

    def persist(self, number: int) -> None:
        key = f"call-{number}"
        body = {"orderid": f"web-{number}", "sku": f"allocate-{number % 4}", "qty": 1 + number % 3}
        answer = None
        waiting.wait_until(lambda: bool(self.url), deadline_s=30.0)
        for _ in range(100):
            answer = call(f"{self.url}/allocate", body, key)
            if answer is not None and answer[0] == 201:
                break
            _PAUSE.wait(0.1)
        assert answer is not None, key
        self.answers[key] = answer[1]


@pytest.mark.long
@pytest.mark.parametrize("nth", [1, 10, 30])
def test_api_killed_while_calls_wait(nth: int, system: systems.System) -> None:
    system.start("relay")
    worker = system.start("worker")
    system.send(system.workload("allocate").first())
    system.drain()
    worker.stop()  # so that calls wait
    callers = Callers()
    api = system.start("api", kill_point=f"api.after_produce:{nth}")
    callers.url = api.await_line("api.listening")["url"]
    with futures.ThreadPoolExecutor(CALLS) as pool:
        calls = [pool.submit(callers.persist, number) for number in range(CALLS)]
        system.note(api.await_kill_point())
        callers.url = system.start("api").await_line("api.listening")["url"]
        system.start("worker")
        for answered in calls:
            answered.result()
    system.verify()
    assert system.seen is not None
    results = {key: {"batchref": fate.result} for (_, key), fate in system.seen.fates.items() if key in callers.answers}
    assert callers.answers == results
    assert len(results) == CALLS


class Programs:
    """Programs of the old kind: they publish commands on Redis and listen to allocations."""

    def __init__(self, system: systems.System) -> None:
        client: Any = redis.Redis.from_url(system.settings.redis_url)
        self._client = client
        self._prefix = system.settings.topic_prefix
        self._heard = client.pubsub(ignore_subscribe_messages=True)
        self._heard.subscribe(f"{self._prefix}line_allocated")
        self._heard.get_message(timeout=10)
        self.published: list[dict[str, Any]] = []
        self.allocations: list[tuple[Any, ...]] = []

    def close(self) -> None:
        self._heard.close()
        self._client.close()

    def publish(self, count: int) -> None:
        for _ in range(count):
            number = len(self.published)
            line = {"orderid": f"old-{number}", "sku": f"allocate-{number % 4}", "qty": 1 + number % 3}
            self._client.publish(f"{self._prefix}allocate", json.dumps(line))
            self.published.append(line)

    def listen(self) -> None:
        while (message := self._heard.get_message(timeout=0.01)) is not None:
            said = json.loads(message["data"])
            self.allocations.append((said["orderid"], said["sku"], said["qty"], said["batchref"]))

    def heard(self) -> set[tuple[Any, ...]]:
        self.listen()
        return set(self.allocations)

    def has_subscribers(self) -> bool:
        return bool(self._client.pubsub_numsub(f"{self._prefix}allocate")[0][1])


@contextlib.contextmanager
def programs(system: systems.System) -> Iterator[Programs]:
    with contextlib.closing(Programs(system)) as them:
        yield them


def kill_under_load(part: processes.Part, them: Programs) -> str:
    """Publish until the bridge has died."""
    for _ in range(600):
        if not part.is_running:
            break
        them.publish(5)
        them.listen()
        with contextlib.suppress(AssertionError):
            waiting.wait_until(lambda: not part.is_running, deadline_s=0.1)
    return part.await_kill_point()


@pytest.mark.long
@pytest.mark.parametrize("point", BRIDGE)
def test_bridge_killed_at(point: str, system: systems.System) -> None:
    system.start("relay")
    system.start("worker")
    system.send(system.workload("allocate").first())
    with programs(system) as them:
        for nth in (1, 2):
            system.note(kill_under_load(system.start("bridge", kill_point=f"{point}:{nth}"), them))
        system.start("bridge")
        waiting.wait_until(them.has_subscribers, deadline_s=30.0)
        before = len(them.published)
        them.publish(50)
        system.sent += len(them.published)
        waiting.wait_until(
            lambda: forwarded(system) >= {one["orderid"] for one in them.published[before:]}, deadline_s=30.0
        )
        system.drain()
        announced = set(published(system))
        waiting.wait_until(lambda: them.heard() >= announced, deadline_s=30.0)
        assert set(them.allocations) == announced
    system.verify()
    times = Counter(orderids(system))
    assert set(times.values()) == {1}, "forwarded twice"
    assert times.keys() <= {one["orderid"] for one in them.published}


def orderids(system: systems.System) -> list[str]:
    """Return the orders of all commands that came from Redis, as often as they came."""
    fields = [
        avro.read(record.topic, record.value, system.schema_ids["allocate"])
        for record in system.log.read(["allocate"])
        if record.header("ce_source") == b"allocation/redis"
    ]
    return [str(one["orderid"]) for one in fields if one]


def forwarded(system: systems.System) -> set[str]:
    return set(orderids(system))


def published(system: systems.System) -> Iterator[tuple[Any, ...]]:
    for event in system.log.read(["line_allocated"]):
        fields = avro.read(event.topic, event.value, system.schema_ids["line_allocated"])
        assert fields is not None
        yield (fields["orderid"], fields["sku"], fields["qty"], fields["batchref"])
