"""One server of the stack as a child process: started, watched until it is ready, stopped, killed."""

from __future__ import annotations

import abc
import os
import signal
import subprocess
import time
from pathlib import Path

from allocation import children
from allocation.devstack import errors

# Long enough for a cold disk and a busy machine; a server that fails says so by exiting.
READY_DEADLINE_S = 60.0
# A server that has not stopped by then is killed; Kafka, the slowest, takes under a second.
STOP_TIMEOUT_S = 10.0
_POLL_INTERVAL_S = 0.02
_LOG_TAIL_LINES = 15

# What a server may see of our environment: their own variables (PG…, KAFKA_…, QUARKUS_…,
# JAVA_TOOL_OPTIONS) would change the configuration that is given here.
_INHERITED_VARIABLES = ("PATH", "HOME", "TZ", "LD_LIBRARY_PATH")


class Service(abc.ABC):
    """A server with its data directory, port and log, which may be restarted on the same ones."""

    title: str
    """The name that people know it by."""
    stop_signal = signal.SIGTERM
    death_signal = signal.SIGKILL
    """What it gets when this process dies; see `children`."""
    gives_up_root = False

    def __init__(self, *, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.log_path = directory.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int:
        """The process id of the running server; raises DevstackError when it is not running."""
        if self._process is None or self._process.poll() is not None:
            message = f"{self.title} is not running; start() starts it."
            raise errors.DevstackError(message)
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process exists."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server on its port and data, and return at once; see `wait_ready`."""
        if self.is_running:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self._prepare()
        self._log_start = self.log_path.stat().st_size if self.log_path.exists() else 0
        self._process = self._spawn(self._command())

    def wait_ready(self, deadline_s: float = READY_DEADLINE_S) -> None:
        """Block until the server answers requests.

        Raises DevstackError with the end of its log if it stops before, or after `deadline_s`.
        """
        end = time.monotonic() + deadline_s
        # In this order: whoever answers on the port of a server that is gone is another one.
        while not (self.is_running and self._is_ready()):
            if not self.is_running:
                self._start_again_or_raise()
            if time.monotonic() > end:
                raise self._error(f"is not ready after {deadline_s:g} s")
            time.sleep(_POLL_INTERVAL_S)

    def check(self) -> None:
        """Raise DevstackError with the end of its log if the server does not run."""
        if not self.is_running:
            raise self._error(f"has stopped by itself ({self._exit()})")

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Let the server finish in order and wait until it is gone; kill it after the timeout."""
        self._end(self.stop_signal, timeout_s)

    def kill(self) -> None:
        """End the server at once by SIGKILL, as a crash would, and wait until it is gone."""
        self._end(signal.SIGKILL, STOP_TIMEOUT_S)

    def _end(self, number: signal.Signals, timeout_s: float) -> None:
        process = self._process
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def log_tail(self) -> str:
        """Return the last lines that the server has printed since it was started."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])

    def _printed(self, text: str) -> bool:
        """Say whether the server has printed the text since it was started."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return text.encode() in log.read()

    def _spawn(self, command: tuple[str, ...], stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as log:
            return children.spawn(
                command,
                environment=self._environment(),
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                death_signal=self.death_signal,
                owned_directory=self.directory if self.gives_up_root else None,
            )

    def _run(self, command: tuple[str, ...], *, stdin: bytes = b"") -> None:
        """Run a program to its end, with the server's identity and log."""
        # As the service's process, so that stop() ends this one as well.
        self._process = process = self._spawn(command, stdin=subprocess.PIPE)
        process.communicate(stdin)
        if process.returncode != 0:
            raise self._error(f"could not be prepared ({Path(command[0]).name}: {self._exit()})")

    def _exit(self) -> str:
        code = None if self._process is None else self._process.returncode
        if code is not None and code < 0:
            return f"ended by {signal.Signals(-code).name}"
        return f"exit code {code}"

    def _environment(self) -> dict[str, str]:
        return {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}

    def _start_again_or_raise(self) -> None:
        if not self._may_start_again():
            raise self._error(f"stopped while it was starting ({self._exit()})")
        self.start()

    def _may_start_again(self) -> bool:
        """Say whether what stopped the server passes by itself."""
        return False

    def _error(self, fact: str) -> errors.DevstackError:
        return errors.DevstackError(
            f"{self.title} {fact}. It printed last:\n{self.log_tail() or '(nothing)'}\n"
            f"The whole log is {self.log_path}. If its data are damaged, remove {self.directory}."
        )

    def _prepare(self) -> None:  # noqa: B027 most servers need nothing
        """Make what the server needs before its first start; may be repeated."""

    @abc.abstractmethod
    def _command(self) -> tuple[str, ...]:
        """Return the server's command line, an absolute path first."""

    @abc.abstractmethod
    def _is_ready(self) -> bool:
        """Say whether the server answers requests; must not block for long."""
