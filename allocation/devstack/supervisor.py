"""Hold the local stack in the background: `python -m allocation.devstack.supervisor`.

It tells its progress on standard output and closes it when everything is up; what goes wrong
stands in its log. It goes on until it gets SIGTERM, or until a service dies.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from allocation.devstack import errors, local

if TYPE_CHECKING:
    from collections.abc import Callable

    from allocation.devstack import stack

# How soon it is noticed that a service has died.
_WATCH_INTERVAL_S = 0.5


def start_detached(on_progress: Callable[[str], None]) -> None:
    """Start a supervisor that outlives this process, and return when all services are up.

    Raises DevstackError when they are not. An interruption stops it.
    """
    local.refuse_second()
    log_path = local.directory() / "supervisor.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("w") as log:
        supervisor = subprocess.Popen(
            (sys.executable, "-m", "allocation.devstack.supervisor"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        _wait_until_up(supervisor, on_progress)
    except BaseException:
        supervisor.terminate()
        supervisor.wait()
        raise
    running = local.find()
    if running is None or running.pid != supervisor.pid:
        supervisor.wait()
        raise errors.DevstackError(log_path.read_text().strip())
    # It is not ours to wait for; without this, the object would complain about that.
    supervisor.returncode = 0


def watch(running: stack.Stack) -> None:
    """Block for as long as all services run; raises DevstackError naming the one that died."""
    while True:
        for service in running.services:
            service.check()
        time.sleep(_WATCH_INTERVAL_S)


def interrupt_on_sigterm() -> None:
    """Make SIGTERM what Ctrl-C is, so that either stops everything in order."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _wait_until_up(supervisor: subprocess.Popen[str], on_progress: Callable[[str], None]) -> None:
    if supervisor.stdout is None:  # pragma: no cover - it is a pipe
        return
    with supervisor.stdout as lines:
        for line in lines:
            on_progress(line.rstrip("\n"))


def main() -> int:
    """Run the stack until told to stop; return the exit code."""
    interrupt_on_sigterm()
    try:
        with local.hold(lambda text: print(text, flush=True)) as running:  # noqa: T201 the pipe to `up`
            _close_standard_output()
            watch(running)
    except KeyboardInterrupt:
        return 0
    except errors.DevstackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _close_standard_output() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
