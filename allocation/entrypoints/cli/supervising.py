"""Keep the parts of the service running as child processes, each started again when it dies.

Processes, not threads: a part that crashes takes no other one with it. None outlives this process,
however it ends. What they print goes where ours goes, as it is.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from allocation import children
from allocation.entrypoints import stopping
from allocation.entrypoints.cli import failures, membership

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from allocation import config

# In the order of their start. They are stopped the other way round, stage by stage: first the ways in, and the API
# can still answer its last callers; then what works on what has come in.
_STAGES = (("relay", "worker", "maintenance"), ("bridge", "api"))
_CONSOLE = "console"  # with the ways in, where a port is set for it

# From the one that is set upwards.
_HEALTH_PORTS = ("worker", "relay", "bridge", "maintenance")

# How soon the death of a part is noticed.
_POLL_INTERVAL_S = 0.1
# A crash that does not repeat costs little; one that does must not keep the machine busy.
FIRST_BACKOFF_S = 0.5
LAST_BACKOFF_S = 30.0
# A part that has run for so long was well; its next crash is a first one again.
_WELL_AFTER_S = 60.0
# The API takes the longest: a call in hand is answered in 5 s, unless it is set otherwise.
_PATIENCE_S = 8.0
# Below the 30 s that Kubernetes, compose and systemd give or may be given; then the rest is killed, which is as safe.
_STOP_TIMEOUT_S = 25.0

_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2
# The second: it was told to stop before it had begun to listen for that.
_CLEAN = frozenset({0, -signal.SIGTERM})

log = structlog.get_logger()


def run(settings: config.Settings) -> int:
    """Run all parts until SIGTERM or Ctrl-C; return the exit code."""
    with membership.held_name(settings.consumer_group) as name:
        environment = {**os.environ, "ALLOCATION_CONSUMER_INSTANCE_ID": settings.consumer_instance_id or name}
        stages = [
            [Part(part, _command(part), environment | own_settings(part, settings)) for part in stage]
            for stage in stages_of(settings)
        ]
        stop = stopping.on_signal(at_second=functools.partial(_kill, stages))
        return supervise(stages, stop)


def supervise(stages: Stages, stop: threading.Event) -> int:
    """Keep the parts running until the event is set, or until one says that its settings are wrong.

    Then stops them, the last stage first. Returns the exit code: 0 if all have stopped cleanly, 2 for
    wrong settings, else 1.
    """
    try:
        status = _keep_running([part for stage in stages for part in stage], stop)
        was_clean = _stop(tuple(reversed(stages)))
    finally:
        for process in _kill(stages):
            process.wait()
    return status or (0 if was_clean else failures.FAILED)


def _keep_running(parts: Sequence[Part], stop: threading.Event) -> int:
    """Return when the event is set, or with an exit code when going on makes no sense."""
    while not stop.is_set():
        for part in parts:
            part.look_after()
            if part.is_hopeless:
                return failures.USER_ERROR
        stop.wait(_POLL_INTERVAL_S)
    return 0


@dataclass(slots=True)
class Part:
    """One part: its process, or when that will be started again."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None
    is_hopeless: bool = False
    """It has rejected its settings: another start would end the same way."""
    _started_at: float = 0.0
    _start_at: float = 0.0
    _backoff_s: float = FIRST_BACKOFF_S

    @property
    def is_running(self) -> bool:
        """Whether its process exists."""
        return self.process is not None and self.process.poll() is None

    def look_after(self) -> None:
        """Start the part when it is time for that; plan a new start when it has died."""
        if self.process is None:
            if time.monotonic() >= self._start_at:
                self._start()
        elif not self.is_running:
            self._note_end(self.process.returncode)
            self.process = None

    def _start(self) -> None:
        self._started_at = time.monotonic()
        self.process = children.spawn(
            self.command,
            environment=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=_STANDARD_OUTPUT,
            stderr=_STANDARD_ERROR,
        )
        log.info("run.part_started", part=self.name, pid=self.process.pid)

    def _note_end(self, exit_code: int) -> None:
        self.is_hopeless = exit_code == failures.USER_ERROR
        if self.is_hopeless:
            log.error("run.part_rejects_settings", part=self.name)
            return
        now = time.monotonic()
        if now - self._started_at >= _WELL_AFTER_S:
            self._backoff_s = FIRST_BACKOFF_S
        log.error("run.part_died", part=self.name, exit_code=exit_code, restart_in_s=self._backoff_s)
        self._start_at = now + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, LAST_BACKOFF_S)


Stages = Sequence[Sequence[Part]]


def _command(part: str) -> tuple[str, ...]:
    # -P: a folder in the working directory that is called like the package is not the package.
    return (sys.executable, "-P", "-m", "allocation", part)


def stages_of(settings: config.Settings) -> Sequence[Sequence[str]]:
    """Return which parts run, by stage."""
    *first, last = _STAGES
    return (*first, (*last, _CONSOLE) if settings.console_port else last)


def own_settings(part: str, settings: config.Settings) -> dict[str, str]:
    """Return what only this part is told: a port of its own for its health, and for the console where those are."""
    if part == _CONSOLE:
        return _watched(settings)
    if part not in _HEALTH_PORTS or not settings.health_port:
        return {}
    return {"ALLOCATION_HEALTH_PORT": str(_health_port(part, settings))}


def _health_port(part: str, settings: config.Settings) -> int:
    return settings.health_port + _HEALTH_PORTS.index(part)


def _watched(settings: config.Settings) -> dict[str, str]:
    if settings.console_parts or not settings.health_port:
        return {}
    host = _reached(settings.http_host)
    urls = {part: f"http://{host}:{_health_port(part, settings)}" for part in _HEALTH_PORTS}
    if settings.http_port:
        urls["api"] = f"http://{host}:{settings.http_port}"
    return {"ALLOCATION_CONSOLE_PARTS": json.dumps(urls)}


def _reached(host: str) -> str:
    """Return by which name a part on this machine is reached that listens there."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not listened on
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _stop(stages: Stages) -> bool:
    """Stop one stage after the other; say whether all parts ended cleanly, and in time."""
    log.info("run.stopping")
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    for stage in stages:
        _stop_stage([part.process for part in stage if part.process is not None], deadline)
    clean = [_has_stopped(part, deadline) for stage in stages for part in stage]
    log.info("run.stopped")
    return all(clean)


def _stop_stage(processes: Sequence[subprocess.Popen[bytes]], deadline: float) -> None:
    """Tell all to stop, and give them some time before the next stage is told."""
    for process in processes:
        process.terminate()
    patient_until = min(time.monotonic() + _PATIENCE_S, deadline)
    for process in processes:
        _wait(process, patient_until - time.monotonic())


def _has_stopped(part: Part, deadline: float) -> bool:
    if part.process is None or _wait(part.process, deadline - time.monotonic()) in _CLEAN:
        return True
    log.warning("run.part_not_stopped", part=part.name, exit_code=part.process.returncode)
    return False


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> int | None:
    """Return the exit code, or None when it still runs."""
    try:
        return process.wait(max(timeout_s, 0))
    except subprocess.TimeoutExpired:
        return None


def _kill(stages: Stages) -> list[subprocess.Popen[bytes]]:
    """End at once what still runs, and return it."""
    running = [part.process for stage in stages for part in stage if part.process is not None and part.is_running]
    for process in running:
        process.kill()
    return running
