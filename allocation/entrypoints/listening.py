"""Take the port before anything else is opened, so that a taken one is said at once and in one sentence."""

from __future__ import annotations

import socket

# Connections that the system holds for us while all hands are full.
_BACKLOG = 2048


class CannotListen(Exception):
    """The address cannot be listened on; says which and what to do."""


def open_socket(host: str, port: int, *, who: str, remedy: str) -> socket.socket:
    """Listen on the address, port 0 for a free one; raises `CannotListen`, which names who wants to, and the remedy."""
    try:
        families = {info[0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (")[0]  # the rest repeats the address
        raise CannotListen(f"{who} cannot listen on {host}:{port}: {reason}; {remedy}") from error


def url(listening: socket.socket) -> str:
    """Return where the socket listens, as callers write it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
