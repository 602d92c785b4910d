"""Serve `/healthz`, `/readyz` and `/metrics` from threads beside a part's work, by the standard library's server.

For machines within the installation: it speaks no TLS and asks for no password, as Prometheus and
orchestrators expect. It changes nothing.
"""

from __future__ import annotations

import contextlib
import http
import json
import socketserver
import threading
from typing import TYPE_CHECKING, cast
from wsgiref import simple_server

import prometheus_client

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from allocation.entrypoints.observing import readiness

_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"
_STOP_CHECK_S = 0.1
# A caller that says nothing must not keep its thread.
_CALL_TIMEOUT_S = 10.0


def application(look: Callable[[], readiness.Answer], registry: prometheus_client.CollectorRegistry) -> WSGIApplication:
    """Return what answers the three calls; alive is whoever answers, so that a dead database restarts nobody."""
    metrics = prometheus_client.make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if path == "/metrics":
            return cast("Iterable[bytes]", metrics(environ, start_response))
        if path == "/healthz":
            return _send(start_response, 200, _TEXT, "OK")
        if path == "/readyz":
            found = look()
            return _send(start_response, found.status, _JSON, json.dumps(found.body))
        return _send(start_response, 404, _TEXT, "there are /healthz, /readyz and /metrics")

    return answer


@contextlib.contextmanager
def serving(sock: socket.socket, app: WSGIApplication) -> Iterator[None]:
    """Answer calls on this socket until the block ends."""
    with sock, _Server(sock) as server:
        server.set_app(app)
        thread = threading.Thread(target=server.serve_forever, args=(_STOP_CHECK_S,), name="health", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _Handler(simple_server.WSGIRequestHandler):
    timeout = _CALL_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing: a call every few seconds is no news."""


class _Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = True

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.server_name, self.server_port = sock.getsockname()[:2]
        self.setup_environ()


def _send(start_response: StartResponse, status: int, kind: str, text: str) -> Iterable[bytes]:
    body = text.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    start_response(f"{status} {http.HTTPStatus(status).phrase}", headers)
    return [body]
