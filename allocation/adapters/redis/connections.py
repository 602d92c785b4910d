"""Connections to Redis that report an outage instead of hiding it.

redis-py reconnects and subscribes again by itself, and whatever was published meanwhile is gone
without a word; here every lost connection is an error that the bridge sees and logs.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

import redis
import redis.backoff
import redis.exceptions
import redis.retry

from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT_S = 5.0  # a server that takes longer to answer a command of a millisecond counts as down

# A peer that vanished without a word is noticed after 10 + 3 x 5 seconds, by the operating system.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}


@contextlib.contextmanager
def connect(url: str) -> Iterator[redis.Redis]:
    """Return a client for `redis://`, `rediss://` or `unix://`; it connects at first use."""
    over_tcp: dict[str, Any] = {"socket_keepalive": True, "socket_keepalive_options": _KEEPALIVE}
    client = redis.Redis.from_url(
        url,
        protocol=2,  # any server speaks it, and pub/sub gains nothing from 3
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
        **({} if url.startswith("unix:") else over_tcp),
    )
    try:
        yield client
    finally:
        client.close()


def check(client: redis.Redis) -> None:
    """Make sure that the server answers; raises `DependencyDown`."""
    with translated_errors():
        client.ping()


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Raise `DependencyDown` for whatever Redis or the way to it has against us: no message is to blame for it."""
    try:
        yield
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
        raise ports.DependencyDown(
            f"Redis does not answer: {error}; check that it runs there, or correct ALLOCATION_REDIS_URL"
        ) from error
    except redis.exceptions.RedisError as error:
        raise ports.DependencyDown(f"Redis does not answer as it should: {error}") from error
