"""The user's own stack, with data that last: at most one runs at a time, and it can be found.

Who runs it holds a lock on a file for as long as he lives; the state file beside it says who he is
and where the services listen. A state without the lock is left over from a crash and counts for
nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING

from allocation.devstack import cache, endpoints, errors, stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_POLL_INTERVAL_S = 0.05
# Kafka, the slowest, stops in under a second and is killed after 10 s.
_STOP_DEADLINE_S = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class Running:
    """The stack that runs now."""

    pid: int
    """The process that holds it: `allocation up`, or its supervisor."""
    endpoints: endpoints.Endpoints | None
    """Where it listens; none while it is starting."""


def directory() -> Path:
    """Return where its data, logs and state are."""
    return cache.directory() / "stack"


def find() -> Running | None:
    """Return the stack that runs now, if any."""
    with cache.try_locked(_lock_file()) as nobody_runs_it:
        return None if nobody_runs_it else _read_state()


def refuse_second() -> None:
    """Raise DevstackError when a stack is running."""
    if find() is not None:
        raise _already_running()


@contextlib.contextmanager
def hold(on_progress: Callable[[str], None]) -> Iterator[stack.Stack]:
    """Run the stack for the block.

    Raises DevstackError when one is running already, or a part of it cannot be started.
    """
    with cache.try_locked(_lock_file()) as is_ours:
        if not is_ours:
            raise _already_running()
        _write_state(Running(os.getpid(), endpoints=None))
        try:
            with stack.Stack(directory() / "services", on_progress=on_progress) as running:
                _write_state(Running(os.getpid(), running.endpoints))
                yield running
        finally:
            _state_file().unlink()


def stop() -> bool:
    """Stop the stack and wait until it is gone; return whether there was one.

    Raises DevstackError if it is still there after half a minute.
    """
    running = find()
    if running is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_DEADLINE_S
    while find() is not None:
        if time.monotonic() > deadline:
            message = f"Process {running.pid} has not stopped after {_STOP_DEADLINE_S:g} s; kill -9 {running.pid}"
            raise errors.DevstackError(f"{message} ends it and the services.")
        time.sleep(_POLL_INTERVAL_S)
    return True


def wipe() -> bool:
    """Remove the data of the stack; return whether there were any.

    Raises DevstackError when it is running.
    """
    with cache.try_locked(_lock_file()) as is_ours:
        if not is_ours:
            raise _already_running()
        data = directory() / "services"
        if not data.exists():
            return False
        shutil.rmtree(data)
        return True


def _already_running() -> errors.DevstackError:
    return errors.DevstackError(
        f"A local stack is running already (process {_read_state().pid}). "
        f"`allocation env` prints its addresses, `allocation down` stops it."
    )


def _lock_file() -> Path:
    return directory() / "lock"


def _state_file() -> Path:
    return directory() / "state.json"


def _write_state(running: Running) -> None:
    # Replaced in one step: a reader sees the old or the new one, never a half.
    new = _state_file().with_suffix(".new")
    new.write_text(json.dumps(dataclasses.asdict(running)))
    new.replace(_state_file())


def _read_state() -> Running:
    try:
        state = json.loads(_state_file().read_text())
    except FileNotFoundError:
        # It has the lock and is about to write, or has just removed it.
        message = "A local stack is just starting or stopping; try again in a moment."
        raise errors.DevstackError(message) from None
    addresses = state["endpoints"]
    return Running(state["pid"], addresses and endpoints.Endpoints(**addresses))
