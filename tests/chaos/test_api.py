"""Calls by HTTP have their outcome, each once, although the API is killed."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from concurrent import futures
from typing import TYPE_CHECKING, Any

import pytest

from tests import waiting

if TYPE_CHECKING:
    from tests.chaos import system as systems

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
@pytest.mark.parametrize("nth", [1, 30])
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
