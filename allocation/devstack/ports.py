"""Free TCP ports that stay free until the server that they were picked for has bound them."""

from __future__ import annotations

import itertools
import random
import socket
from collections import deque

from allocation.devstack import errors

HOST = "127.0.0.1"

# Below the range from which systems take the ports of outgoing connections (Linux: from 32768):
# there a port that was free a second ago may be somebody's connection by now.
_RANGE = range(20_000, 32_000)
_ATTEMPTS = 200

# Who picks at the same time, or while a server restarts, is to pick another: a UDP socket on the same number says so,
# which is in the way of no TCP server, and is there until this process ends. The oldest are let go: a process has only
# so many sockets.
_MOST_CLAIMS = 200
_claims: deque[int] = deque()


def pick(count: int) -> tuple[int, ...]:
    """Return that many different free ports of the loopback interface."""
    # Not SystemRandom for secrecy: for two processes that start at once to differ.
    candidates = random.SystemRandom().sample(_RANGE, _ATTEMPTS)
    found = tuple(itertools.islice((port for port in candidates if is_free(port) and _claim(port)), count))
    if len(found) < count:
        message = f"No {count} free ports between {_RANGE.start} and {_RANGE.stop} on {HOST}."
        raise errors.DevstackError(message)
    return found


def is_free(port: int) -> bool:
    """Say whether a server could listen on the port now."""
    with socket.socket() as listener:
        # As servers do: a closed connection that lingers on the port is no obstacle.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _is_bound(listener, port)


def _claim(port: int) -> bool:
    """Keep other processes, and later calls in this one, from picking the port; say whether nobody else did."""
    with socket.socket(type=socket.SOCK_DGRAM) as claim:
        if not _is_bound(claim, port):
            return False
        _claims.append(claim.detach())
    if len(_claims) > _MOST_CLAIMS:
        socket.close(_claims.popleft())
    return True


def _is_bound(to_bind: socket.socket, port: int) -> bool:
    try:
        to_bind.bind((HOST, port))
    except OSError:
        return False
    return True
