"""Parts of an installation as processes of their own, watched by what they log."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from allocation import config

DEADLINE_S = 60.0  # for what takes a second or two on a machine that has nothing else to do


class Part:
    """`python -m allocation PART`, and its log lines."""

    def __init__(self, name: str, settings: config.Settings, *, more: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "allocation", name],
            env=os.environ | environment(settings) | dict(more or {}),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def logged(self, event: str) -> dict[str, Any]:
        """Wait for a log line of this event and return it."""
        while True:
            try:
                text = self._lines.get(timeout=DEADLINE_S)
            except queue.Empty:
                msg = f"it says nothing more, and has not said {event}: {''.join(self.said)}"
                raise AssertionError(msg) from None
            assert text is not None, f"it ended without {event}: {''.join(self.said)}"
            line: dict[str, Any] = json.loads(text) if text.startswith("{") else {}
            if line.get("event") == event:
                return line

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join()
        return code

    def stop(self) -> int:
        """Ask it to end as an init system would."""
        self.process.terminate()
        return self.wait()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.said.append(line)
                self._lines.put(line)
        self._lines.put(None)


@contextlib.contextmanager
def running(name: str, settings: config.Settings, *, more: Mapping[str, str] | None = None) -> Iterator[Part]:
    """Run a part until the block ends, with more environment variables."""
    part = Part(name, settings, more=more)
    try:
        yield part
    finally:
        if part.process.poll() is None:
            part.process.kill()
        part.wait()


def environment(settings: config.Settings) -> dict[str, str]:
    """Return the environment variables that give a process these settings."""
    values = settings.model_dump(exclude_none=True, exclude_unset=True) | {"log_format": "json"}
    return {
        f"ALLOCATION_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def share(worker: Part) -> int:
    """Return how many partitions a worker has, as it told when it was given some and when some were taken."""
    given = sum(len(line["at"]) for line in assignments(worker) if line["event"] == "worker.assigned")
    return given - sum(int(line["partitions"]) for line in assignments(worker) if line["event"] == "worker.revoked")


def assignments(worker: Part) -> list[dict[str, Any]]:
    """Return what a worker said of its partitions."""
    lines: list[dict[str, Any]] = [json.loads(text) for text in tuple(worker.said) if text.startswith("{")]
    return [line for line in lines if line["event"] in ("worker.assigned", "worker.revoked")]
