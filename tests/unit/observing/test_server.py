from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, NamedTuple

import prometheus_client
import pytest

from allocation import config
from allocation.adapters.prometheus import metrics
from allocation.entrypoints import listening
from allocation.entrypoints.observing import parts, readiness, server
from allocation.service_layer import signals

if TYPE_CHECKING:
    from collections.abc import Iterator


class Response(NamedTuple):
    status: int
    kind: str
    text: str


class Service:
    def __init__(self) -> None:
        self.checks = {"work": readiness.Check("ok", is_well=True)}
        self.registry = prometheus_client.CollectorRegistry()
        self.socket = listening.open_socket("127.0.0.1", 0, who="a test", remedy="none")
        self.port: int = self.socket.getsockname()[1]

    def get(self, path: str) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        found = Response(response.status, response.headers["Content-Type"], response.read().decode())
        connection.close()
        return found


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with server.serving(service.socket, server.application(lambda: readiness.Answer(service.checks), service.registry)):
        yield service


def test_alive_does_not_mean_ready(service: Service) -> None:
    service.checks["circuit"] = readiness.Check("it is open", is_well=False)
    assert service.get("/healthz") == (200, "text/plain; charset=utf-8", "OK")
    status, kind, text = service.get("/readyz")
    assert (status, kind) == (503, "application/json")
    assert json.loads(text) == {"ready": False, "problems": {"circuit": "it is open"}, "well": {"work": "ok"}}


def test_ready_is_200(service: Service) -> None:
    assert service.get("/readyz").status == 200


def test_metrics_are_those_of_the_registry(service: Service) -> None:
    metrics.REBALANCES.counter(service.registry).inc(3)
    status, kind, text = service.get("/metrics?name[]=allocation_rebalances_total")
    assert (status, kind.partition(";")[0]) == (200, "text/plain")
    assert "allocation_rebalances_total 3.0" in text


def test_any_other_path_is_told_which_there_are(service: Service) -> None:
    response = service.get("/")
    assert response.status == 404
    assert all(path in response.text for path in ("/healthz", "/readyz", "/metrics"))


def test_a_port_that_is_taken_is_said_with_the_setting_that_mends_it(service: Service) -> None:
    settings = config.load(_env_file=None, health_port=service.port)
    with (
        pytest.raises(
            listening.CannotListen, match=f"the health of the relay.*:{service.port}.*ALLOCATION_HEALTH_PORT"
        ),
        parts.observed(settings, part="relay"),
    ):
        pass


def test_without_a_port_nobody_listens() -> None:
    with parts.observed(config.load(_env_file=None), part="worker") as heard:
        assert heard is signals.SILENT
