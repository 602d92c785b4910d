"""What collects spans: an OTLP receiver in this process, and what it was sent as plain values."""

from __future__ import annotations

import contextlib
import http.server
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span as it was exported; ids in hexadecimal digits."""

    name: str
    service: str
    kind: str
    trace: str
    id: str
    parent: str
    began_ns: int
    ended_ns: int
    attributes: Mapping[str, Any]
    is_error: bool


class Collector:
    """Keeps all spans that it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []

    def of_trace(self, trace: str) -> list[Span]:
        """Return the spans of a trace, each once, in the order in which they began."""
        return sorted({span.id: span for span in self.spans if span.trace == trace}.values(), key=lambda s: s.began_ns)

    def take(self, body: bytes) -> None:
        request = trace_service_pb2.ExportTraceServiceRequest()
        request.ParseFromString(body)
        for of_resource in request.resource_spans:
            service = str(_values(of_resource.resource.attributes)["service.name"])
            self.spans += [_span(one, service) for scope in of_resource.scope_spans for one in scope.spans]


def tree(spans: Iterable[Span], *, below: str = "") -> dict[str, Any]:
    """Return the names of spans, each with the tree below it."""
    known = list(spans)
    return {span.name: tree(known, below=span.id) for span in known if span.parent == below}


@contextlib.contextmanager
def collecting() -> Iterator[Collector]:
    """Receive spans at `url` until the block ends."""
    collector = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _span(one: Any, service: str) -> Span:
    return Span(
        name=one.name,
        service=service,
        kind=type(one).SpanKind.Name(one.kind).removeprefix("SPAN_KIND_"),
        trace=one.trace_id.hex(),
        id=one.span_id.hex(),
        parent=one.parent_span_id.hex(),
        began_ns=one.start_time_unix_nano,
        ended_ns=one.end_time_unix_nano,
        attributes=_values(one.attributes),
        is_error=one.status.code == 2,
    )


def _values(attributes: Iterable[Any]) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
