"""Servers that ask who somebody is, by files of passwords that are read at each call."""

from __future__ import annotations

import base64
import contextlib
import threading
from email import message_from_bytes
from http import server
from typing import TYPE_CHECKING, Any

import httpx2
from aiosmtpd import controller, smtp

from tests.runbook import stand_ins

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"


class Registry(server.ThreadingHTTPServer):
    """Stands before a registry as nginx would, with `auth_basic`; `answers` are who asked, and the status of each."""

    daemon_threads = True

    def __init__(self, behind: str, users: Path) -> None:
        super().__init__((HOST, 0), _Call)
        self.behind = httpx2.URL(behind)
        self.users = users
        self.answers: list[tuple[str, int]] = []

    @property
    def url(self) -> str:
        """Where users call."""
        return f"http://{HOST}:{self.server_port}{self.behind.path}"


class _Call(server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Registry

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        user, _, password = _decoded(self.headers.get("Authorization", "")).partition(":")
        if stand_ins.is_known(self.server.users, user, password):
            url = self.server.behind.copy_with(raw_path=self.path.encode())
            kind = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            answer = httpx2.request(self.command, url, content=body, headers=kind, timeout=10)
            self._send(user, answer.status_code, answer.content)
        else:
            self._send(user, 401, b"")

    do_GET = do_POST = do_PUT = _pass_on  # noqa: N815 - the library's names

    def _send(self, user: str, status: int, body: bytes) -> None:
        self.server.answers.append((user, status))
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing."""


@contextlib.contextmanager
def a_registry(behind: str, users: Path) -> Iterator[Registry]:
    """Serve until the block ends."""
    with Registry(behind, users) as door:
        thread = threading.Thread(target=door.serve_forever)
        thread.start()
        try:
            yield door
        finally:
            door.shutdown()
            thread.join()


class Mails:
    """The subjects of the mails that a server took, in order."""

    def __init__(self) -> None:
        self.subjects: list[str] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.subjects.append(message_from_bytes(envelope.content)["Subject"])
        return "250 OK"


@contextlib.contextmanager
def a_mail_server(address: str, users: Path, tls: ssl.SSLContext) -> Iterator[Mails]:
    """Take mails of users until the block ends."""

    def is_known(_server: Any, _session: Any, _envelope: Any, _mechanism: str, login: Any) -> smtp.AuthResult:
        is_one = stand_ins.is_known(users, login.login.decode(), login.password.decode())
        return smtp.AuthResult(success=is_one, handled=False)

    host, _, port = address.partition(":")
    mails = Mails()
    options: dict[str, Any] = {"tls_context": tls, "authenticator": is_known, "auth_required": True}
    running = controller.Controller(mails, hostname=host, port=int(port), **options)
    running.start()
    try:
        yield mails
    finally:
        running.stop()


def _decoded(authorization: str) -> str:
    return base64.b64decode(authorization.removeprefix("Basic ")).decode()
