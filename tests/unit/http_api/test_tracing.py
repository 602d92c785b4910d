from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import export, sampling
from opentelemetry.sdk.trace.export import in_memory_span_exporter

from allocation.service_layer import messages
from tests.unit.http_api.world import A_LINE, World, header

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def kept() -> in_memory_span_exporter.InMemorySpanExporter:
    return in_memory_span_exporter.InMemorySpanExporter()


def world_of(
    kept: in_memory_span_exporter.InMemorySpanExporter, sampler: sampling.Sampler | None = None
) -> Iterator[World]:
    provider = sdk.TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(export.SimpleSpanProcessor(kept))
    world = World(traces=provider)
    with world.client:
        yield world
        world.hints.finish()


@pytest.fixture
def world(kept: in_memory_span_exporter.InMemorySpanExporter) -> Iterator[World]:
    yield from world_of(kept)


@pytest.fixture
def sparing_world(kept: in_memory_span_exporter.InMemorySpanExporter) -> Iterator[World]:
    yield from world_of(kept, sampling.ALWAYS_OFF)


@pytest.mark.parametrize("headers", [{"traceparent": f"00-{TRACE}-{CALLER}-01"}, {}, {"traceparent": "nonsense"}])
def test_a_command_goes_on_with_the_span_of_its_call(
    world: World, kept: in_memory_span_exporter.InMemorySpanExporter, headers: dict[str, str]
) -> None:
    world.client.post("/allocate", json=A_LINE, headers=headers)
    (span,) = kept.get_finished_spans()
    assert span.context is not None
    assert (span.name, span.kind.name) == ("POST /allocate", "SERVER")
    assert (span.attributes or {})["http.response.status_code"] == 201
    carried = header(world.log.messages[0], messages.TRACEPARENT).split("-")
    assert carried[1:3] == [f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"]
    if TRACE in headers.get("traceparent", ""):
        assert span.parent is not None
        assert (carried[1], f"{span.parent.span_id:016x}") == (TRACE, CALLER)


def test_a_call_that_is_not_sampled_makes_a_command_that_is_not(
    sparing_world: World, kept: in_memory_span_exporter.InMemorySpanExporter
) -> None:
    sparing_world.client.post("/allocate", json=A_LINE)
    flags = int(header(sparing_world.log.messages[0], messages.TRACEPARENT)[-2:], 16)
    assert not flags & 1
    assert kept.get_finished_spans() == ()


def test_calls_are_still_measured_by_their_route_and_probes_are_no_part_of_any_trace(
    world: World, kept: in_memory_span_exporter.InMemorySpanExporter
) -> None:
    world.client.post("/allocate", json=A_LINE)
    world.client.get("/healthz")
    assert 'route="/allocate"' in world.client.get("/metrics").text
    assert [span.name for span in kept.get_finished_spans()] == ["POST /allocate"]
