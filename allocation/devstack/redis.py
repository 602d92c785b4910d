"""Redis, in the shape of Valkey, which speaks the same protocol."""

from __future__ import annotations

import socket

from allocation.devstack import ports, process, programs

_PROBE_TIMEOUT_S = 1.0


class Redis(process.Service):
    """A Valkey server that keeps its data in an append-only file."""

    title = "Redis (Valkey)"

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"redis://{ports.HOST}:{self.port}/0"

    def _command(self) -> tuple[str, ...]:
        options = {
            "bind": ports.HOST,
            "port": str(self.port),
            "dir": str(self.directory),
            "appendonly": "yes",
            "save": "",
        }
        arguments = (part for name, value in options.items() for part in (f"--{name}", value))
        return (str(programs.valkey_server()), *arguments)

    def _is_ready(self) -> bool:
        try:
            with socket.create_connection((ports.HOST, self.port), _PROBE_TIMEOUT_S) as client:
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False
