"""Start programs as children that never outlive this process, however it ends.

Linux sends a child its signal when the *thread* that forked it ends. So all children are forked
by one thread, which lives as long as this process. (Elsewhere, only an orderly end stops them.)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent import futures
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LAUNCHER = Path(__file__).with_name("launch.py")

# Its one thread starts with the first child and ends with the process.
_spawner = futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: int,
    stdout: int | IO[bytes],
    stderr: int,
    death_signal: signal.Signals = signal.SIGKILL,
    owned_directory: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start the program with nothing but this environment; an absolute path comes first.

    `death_signal` is what it gets when this process dies. With `owned_directory`, it does not run
    as root: if this process does, it becomes an ordinary user, whose directory that is.
    """
    launched = (
        *(sys.executable, "-I", "-S", str(_LAUNCHER)),
        *(str(int(death_signal)), str(os.getpid()), str(owned_directory or "")),
        *command,
    )

    def fork() -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 the command is made here, of our own programs
            launched,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=environment,
            # Ctrl-C in the terminal is for us, who stop the children in order.
            start_new_session=True,
        )

    return _spawner.submit(fork).result()
