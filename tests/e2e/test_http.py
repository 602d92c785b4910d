"""The API as its callers and its operators see it: a process that listens on a port."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from concurrent import futures
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e import parts

if TYPE_CHECKING:
    from allocation import config

A_LINE = {"orderid": "o1", "sku": "CHAIR", "qty": 3}
# How long a call waits for an outcome that does not come: no less than a stall of the machine while it is looked at.
CALL_S = 6.0


def call(url: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
    """Call as a program would that knows nothing but HTTP and JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=2 * parts.DEADLINE_S) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_stock_is_added_allocated_and_reallocated_over_http(initialised: config.Settings) -> None:
    patient = initialised.model_copy(update={"http_timeout_s": parts.DEADLINE_S})  # the worker may come up later
    with parts.running("worker", patient), parts.running("api", patient) as api:
        url = api.logged("api.listening")["url"]
        early, late = {"ref": "b1", "sku": "CHAIR", "qty": 10, "eta": "2030-01-01"}, {"eta": "2030-02-01"}
        assert call(f"{url}/add_batch", early) == (201, "OK")
        assert call(f"{url}/add_batch", early | late | {"ref": "b2"}) == (201, "OK")
        assert json.loads(call(f"{url}/allocate", A_LINE)[1]) == {"batchref": "b1"}
        assert call(f"{url}/change_batch_quantity", {"batchref": "b1", "qty": 2}) == (201, "OK")
        assert json.loads(call(f"{url}/allocations/o1")[1]) == [{"sku": "CHAIR", "batchref": "b2", "qty": 3}]
        assert call(f"{url}/allocate", A_LINE | {"sku": "TABLE"}) == (400, '{"message":"Invalid sku TABLE"}')
        assert call(f"{url}/docs")[0] == call(f"{url}/metrics")[0] == call(f"{url}/readyz")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_call_in_hand_is_answered_before_the_api_stops(initialised: config.Settings, number: signal.Signals) -> None:
    patient = initialised.model_copy(update={"http_timeout_s": CALL_S})
    with parts.running("api", patient) as api, futures.ThreadPoolExecutor() as callers:
        url = api.logged("api.listening")["url"]
        answer = callers.submit(call, f"{url}/allocate", A_LINE)
        while "allocation_http_waiting_commands 1.0" not in call(f"{url}/metrics")[1]:
            assert not answer.done()
        api.process.send_signal(number)
        status, body = answer.result(parts.DEADLINE_S)
        assert (status, json.loads(body)["topic"]) == (202, f"{initialised.topic_prefix}allocate")
        assert api.wait() == 0


def test_a_port_in_use_is_said_in_one_sentence(initialised: config.Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with parts.running("api", initialised.model_copy(update={"http_port": port})) as api:
            assert api.wait() == 1
    assert len(api.said) == 1, api.said
    (sentence,) = api.said
    assert f"127.0.0.1:{port}" in sentence
    assert "ALLOCATION_HTTP_PORT" in sentence


def test_a_caller_that_speaks_no_http_disturbs_nobody(initialised: config.Settings) -> None:
    with parts.running("api", initialised) as api:
        url = api.logged("api.listening")["url"]
        port = int(url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=parts.DEADLINE_S) as caller:
            caller.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            assert caller.recv(1000).startswith(b"HTTP/1.1 400")
        assert call(f"{url}/healthz") == (200, "OK")
        assert api.stop() == 0
