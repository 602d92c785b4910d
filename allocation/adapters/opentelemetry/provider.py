"""Set the SDK up as its standard variables (`OTEL_…`) say, and end it without waiting for whoever does not answer.

What collects the spans must never be in the way of the work: spans that it does not take are dropped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from importlib import metadata
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry.sdk import environment_variables, resources
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import export

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.sdk.trace import id_generator

log = structlog.get_logger()

# A micro-batch makes 4,000 spans at once, a pass of the relay 10,000; some 30 MB when it is full.
QUEUE_SPANS = 10_000
FAREWELL_S = 2.0  # for what is in hand at the end: below the 30 s grace that Kubernetes gives, with the work's own
_ABORT_S = 0.5  # for an attempt that was told to give up
_AGAIN_S = 60.0  # one line a minute is enough for an outage of what collects
_GROUP = "opentelemetry_traces_exporter"  # the entry points by which exporters are named
_BY_PROTOCOL = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


class CannotTrace(Exception):
    """A variable asks for what is not there, or makes no sense; says which, and what to do."""


@contextlib.contextmanager
def opened(*, service: str, version: str, ids: id_generator.IdGenerator | None = None) -> Iterator[sdk.TracerProvider]:
    """Open what samples and exports spans; sends what it has for `FAREWELL_S` at the end. Raises `CannotTrace`."""
    exporters = [_exporter(name.strip()) for name in os.environ.get("OTEL_TRACES_EXPORTER", "otlp").split(",")]
    with _heard():
        provider = sdk.TracerProvider(resource=_resource(service, version), id_generator=ids, shutdown_on_exit=False)
        for exporter in exporters:
            provider.add_span_processor(_processor(exporter))
        try:
            yield provider
        finally:
            _end(provider, exporters)


def _exporter(name: str) -> export.SpanExporter:
    variable = "OTEL_TRACES_EXPORTER"
    wanted = name
    if name == "otlp":
        variable = environment_variables.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL
        shared = os.environ.get(environment_variables.OTEL_EXPORTER_OTLP_PROTOCOL, "http/protobuf")
        name = os.environ.get(variable, shared)
        wanted = _BY_PROTOCOL.get(name, name)
    found = metadata.entry_points(group=_GROUP, name=wanted)
    if not found:
        there = ", ".join(sorted(metadata.entry_points(group=_GROUP).names))
        raise CannotTrace(f"{variable}={name!r}: no exporter of that name is installed; there are {there}")
    try:
        exporter: export.SpanExporter = next(iter(found)).load()()
    except ValueError as error:
        raise CannotTrace(f"{variable}={name!r}: {error}") from error
    return exporter


def _processor(exporter: export.SpanExporter) -> export.BatchSpanProcessor:
    size = None if environment_variables.OTEL_BSP_MAX_QUEUE_SIZE in os.environ else QUEUE_SPANS
    try:
        return export.BatchSpanProcessor(exporter, max_queue_size=size)
    except ValueError as error:
        raise CannotTrace(f"OTEL_BSP_…: {error}") from error


def _resource(service: str, version: str) -> resources.Resource:
    given = resources.Resource.create()
    ours: dict[str, Any] = {resources.SERVICE_VERSION: version} | dict(given.attributes)
    if str(ours[resources.SERVICE_NAME]).startswith("unknown_service"):
        ours[resources.SERVICE_NAME] = service
    return given.merge(resources.Resource(ours))


def _end(provider: sdk.TracerProvider, exporters: Sequence[export.SpanExporter]) -> None:
    ending = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
    ending.start()
    ending.join(FAREWELL_S)
    if ending.is_alive():
        log.warning("traces.given_up", error=f"what collects them did not take all within {FAREWELL_S:g} s")
        for exporter in exporters:
            exporter.shutdown()
        ending.join(_ABORT_S)


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Have what the SDK says in our own log, and not too often."""
    theirs = logging.getLogger("opentelemetry")
    handler, propagated = _Handler(logging.WARNING), theirs.propagate
    theirs.addHandler(handler)
    theirs.propagate = False
    try:
        yield
    finally:
        theirs.removeHandler(handler)
        theirs.propagate = propagated


class _Handler(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._again_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() < self._again_at:
            return
        self._again_at = time.monotonic() + _AGAIN_S
        error = record.exc_info and record.exc_info[1]
        log.warning("traces.problem", error=f"{record.getMessage()} {error or ''}".rstrip())
