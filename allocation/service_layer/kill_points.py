"""Places at which a test may end this process by SIGKILL; without the environment variable they do nothing.

A guarantee that holds under `kill -9` between any two instructions is tested where it is most likely to
break: between a commit here and a commit there. `ALLOCATION_KILL_POINT=relay.after_commit` ends the
process when it first gets to that place, `ALLOCATION_KILL_POINT=relay.after_commit:3` the third time;
`relay.after_commit:3:stop` halts it there by SIGSTOP, until someone awakens it as a zombie.
The last log line says so: a test must know that it was this place.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "ALLOCATION_KILL_POINT"

_STDERR = 2  # written to without any buffer: nothing comes after


def reached(name: str) -> None:
    """Say that the program is at the place of this name; does not return if a test wants it to die here."""
    wanted = _wanted()
    if name == wanted.name and next(_passes()) == wanted.strikes_at:
        os.write(_STDERR, b'{"event": "kill_point.reached", "name": "%s"}\n' % name.encode())
        # To this thread: a SIGSTOP for the process is taken by any of its threads, and this one might go on meanwhile.
        signal.pthread_kill(threading.get_ident(), wanted.signal)


class _Wanted(NamedTuple):
    name: str
    strikes_at: int
    signal: signal.Signals


@cache
def _wanted() -> _Wanted:
    name, _, rest = os.environ.get(VARIABLE, "").partition(":")
    count, _, how = rest.partition(":")
    return _Wanted(name, int(count or 1), signal.SIGSTOP if how == "stop" else signal.SIGKILL)


@cache
def _passes() -> Iterator[int]:
    return itertools.count(1)
