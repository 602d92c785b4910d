from __future__ import annotations

import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from allocation import bootstrap, config
from allocation.adapters.opentelemetry import provider
from allocation.entrypoints.observing import parts
from allocation.service_layer import signals
from tests import builders, collectors, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    before = set(threading.enumerate())
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "30")
    monkeypatch.setattr(provider, "FAREWELL_S", 0.3)
    yield monkeypatch
    # What was given up says so somewhat later, and must not say it to the next test.
    waiting.wait_until(lambda: set(threading.enumerate()) <= before)


@pytest.fixture
def collector(environment: pytest.MonkeyPatch) -> Iterator[collectors.Collector]:
    with collectors.collecting() as collector:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        environment.setattr(provider, "FAREWELL_S", 30.0)  # what is meant to be collected is, and nobody waits longer
        yield collector


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def somebody_silent() -> Iterator[str]:
    """An address at which somebody listens, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


def handle_one(times: int = 1) -> None:
    """Let a worker tell of commands, and end."""
    with parts.observed(config.load(), part="worker") as hearing:
        for _ in range(times):
            hearing.handled([builders.a_record()], [builders.a_report(handled=1)], 0.1)


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
    ],
)
def test_traces_are_made_where_the_environment_says_where_they_go(
    environment: pytest.MonkeyPatch, variables: dict[str, str], *, wanted: bool
) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)
    assert bootstrap.traces_are_wanted() is wanted


def test_without_that_nobody_hears_and_nothing_is_loaded() -> None:
    with parts.observed(config.load(), part="worker") as hearing:
        assert hearing is signals.SILENT
    program = (
        "import sys\n"
        "from allocation import config\n"
        "from allocation.entrypoints import worker, relay, bridge\n"
        "from allocation.entrypoints.observing import parts\n"
        "with parts.observed(config.load(), part='worker'): pass\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_who_has_no_messages_has_no_traces(collector: collectors.Collector) -> None:
    with parts.observed(config.load(), part="maintenance") as hearing:
        assert hearing is signals.SILENT
    assert collector.spans == []


def test_what_is_in_hand_at_the_end_is_sent_under_the_name_of_the_part(collector: collectors.Collector) -> None:
    handle_one()
    assert [(span.name, span.service) for span in collector.spans] == [("process allocate", "allocation-worker")]


def test_a_service_is_called_as_the_environment_says(
    collector: collectors.Collector, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("OTEL_SERVICE_NAME", "shop")
    handle_one()
    assert collector.spans[0].service == "shop"


def test_a_whole_micro_batch_fits_in_the_queue(collector: collectors.Collector) -> None:
    handle_one(times=4000)
    assert len({span.id for span in collector.spans}) == 4000


def test_a_sampler_is_obeyed(collector: collectors.Collector, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    environment.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    handle_one()
    assert collector.spans == []


@pytest.mark.parametrize("address", ["nobody", "somebody_silent"])
def test_who_does_not_collect_delays_nothing(
    request: pytest.FixtureRequest, environment: pytest.MonkeyPatch, address: str
) -> None:
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", request.getfixturevalue(address))
    environment.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600")  # whoever waited for an answer would not come to an end
    with structlog.testing.capture_logs() as said:
        handle_one(times=1000)
    assert "traces.given_up" in {line["event"] for line in said}


def test_an_outage_of_what_collects_is_said_in_our_own_log(environment: pytest.MonkeyPatch, nobody: str) -> None:
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", nobody)
    environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    said: list[MutableMapping[str, Any]]

    def problems() -> list[MutableMapping[str, Any]]:
        return [line for line in said if line["event"] == "traces.problem"]

    with structlog.testing.capture_logs() as said, parts.observed(config.load(), part="worker") as hearing:
        hearing.handled([builders.a_record()], [builders.a_report(handled=1)], 0.1)
        waiting.wait_until(lambda: bool(problems()))  # before it is told to give up, which it would say instead
    assert len(problems()) == 1
    assert "exporting" in problems()[0]["error"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "pigeon"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "pigeon"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
    ],
)
def test_what_cannot_be_is_said_with_its_name(
    environment: pytest.MonkeyPatch, nobody: str, variable: str, value: str
) -> None:
    environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", nobody)
    environment.setenv(variable, value)
    with pytest.raises(config.SettingsError, match="OTEL_"):
        handle_one()
