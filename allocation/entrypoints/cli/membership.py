"""The name under which the worker of `allocation run` is a member of the consumer group.

A worker that comes back under the same name takes its partitions at once; without one, the group waits
until the session of the worker that died has timed out (KIP-345). Two under one name would throw each
other out. So the name is the host's, followed by the lowest number that no other `run` on this host holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def held_name(group: str) -> Iterator[str]:
    """Yield a name that no other process on this host holds for this group; the same as last time if it is free."""
    host = socket.gethostname()
    if sys.platform != "linux":
        yield f"{host}-{os.getpid()}"  # no abstract sockets: still nobody else's, but new at each start
        return
    for number in itertools.count(1):  # pragma: no branch - it ends with the first free one
        with _hold(f"{group}/{number}") as is_ours:
            if is_ours:
                yield f"{host}-{number}"
                return


@contextlib.contextmanager
def _hold(name: str) -> Iterator[bool]:
    """Bind an abstract socket: no file is left behind, and the system frees it however the process ends."""
    address = "\0allocation-run-" + hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
        try:
            held.bind(address)
        except OSError:
            yield False
        else:
            yield True
