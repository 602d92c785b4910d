"""Free TCP ports that stay free until the server that they were picked for has bound them."""

from __future__ import annotations

import random
import socket

from allocation.devstack import errors

HOST = "127.0.0.1"

# Below the range from which systems take the ports of outgoing connections (Linux: from 32768):
# there a port that was free a second ago may be somebody's connection by now.
_RANGE = range(20_000, 32_000)
_ATTEMPTS = 200


def pick(count: int) -> tuple[int, ...]:
    """Return that many different free ports of the loopback interface."""
    # Not SystemRandom for secrecy: for two processes that start at once to differ.
    candidates = random.SystemRandom().sample(_RANGE, _ATTEMPTS)
    free = [port for port in candidates if is_free(port)]
    if len(free) < count:
        message = f"No {count} free ports between {_RANGE.start} and {_RANGE.stop} on {HOST}."
        raise errors.DevstackError(message)
    return tuple(free[:count])


def is_free(port: int) -> bool:
    """Say whether a server could listen on the port now."""
    with socket.socket() as listener:
        # As servers do: a closed connection that lingers on the port is no obstacle.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError:
            return False
        return True
