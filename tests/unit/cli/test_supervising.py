from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
import threading
from concurrent import futures
from typing import TYPE_CHECKING, NamedTuple

from structlog import testing

from allocation.entrypoints.cli import supervising
from tests import waiting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import pytest

DEADLINE_S = 20.0

# Says what happens to it, in lines short enough to be written at once.
WELL = """
import os, signal, sys
pipe = os.open(os.environ["PIPE"], os.O_WRONLY)
def say(word):
    os.write(pipe, f"{os.environ['PART']} {word} {os.getpid()}\\n".encode())
def stop(*_):
    say("stops")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
say("runs")
while True:
    signal.pause()
"""
STUBBORN = WELL.replace("sys.exit(0)", "pass")
REJECTING = "import sys; sys.exit(2)"


class Said(NamedTuple):
    part: str
    word: str
    pid: int


class Supervised:
    """Parts under supervision in another thread, and what they say."""

    def __init__(self, pipe: Path, stages: Sequence[Sequence[tuple[str, str]]]) -> None:
        os.mkfifo(pipe)
        # Opened for both, so that it neither blocks nor ends when there is no part.
        self._pipe = os.open(pipe, os.O_RDWR)
        self._lines: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.stop = threading.Event()
        self._thread = futures.ThreadPoolExecutor(1)
        self._exit_code = self._thread.submit(
            supervising.supervise,
            [[a_part(name, program, pipe) for name, program in stage] for stage in stages],
            self.stop,
        )

    def said(self) -> Said:
        return self._lines.get(timeout=DEADLINE_S)

    def says(self, count: int) -> dict[str, Said]:
        """Return the next lines by part."""
        return {said.part: said for said in (self.said() for _ in range(count))}

    def exit_code(self) -> int:
        return self._exit_code.result(DEADLINE_S)

    def close(self) -> None:
        self.stop.set()
        self._thread.shutdown()
        os.write(self._pipe, b"\n")
        self._reader.join()
        os.close(self._pipe)

    def _read(self) -> None:
        with os.fdopen(os.dup(self._pipe)) as lines:
            for line in lines:
                if line == "\n":
                    return
                part, word, pid = line.split()
                self._lines.put(Said(part, word, int(pid)))


def a_part(name: str, program: str, pipe: Path) -> supervising.Part:
    environment = {"PIPE": str(pipe), "PART": name}
    return supervising.Part(name, (sys.executable, "-I", "-S", "-c", program), environment)


@contextlib.contextmanager
def supervised(tmp_path: Path, *stages: Sequence[tuple[str, str]]) -> Iterator[Supervised]:
    running = Supervised(tmp_path / "pipe", stages)
    try:
        yield running
    finally:
        running.close()


def test_a_part_that_dies_is_started_again_and_the_others_go_on(tmp_path: Path) -> None:
    with supervised(tmp_path, [("relay", WELL), ("worker", WELL)]) as running:
        first = running.says(2)
        os.kill(first["worker"].pid, signal.SIGKILL)
        again = running.said()
        assert (again.part, again.word) == ("worker", "runs")
        assert again.pid != first["worker"].pid
        os.kill(first["relay"].pid, 0)


def test_a_part_that_dies_again_and_again_is_started_ever_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "LAST_BACKOFF_S", 0.6)
    with testing.capture_logs() as log, supervised(tmp_path, [("worker", WELL)]) as running:
        for _ in range(3):
            os.kill(running.said().pid, signal.SIGKILL)
        running.said()
    died = [line for line in log if line["event"] == "run.part_died"]
    assert [line["restart_in_s"] for line in died] == [0.5, 0.6, 0.6]
    assert {line["exit_code"] for line in died} == {-signal.SIGKILL}


def test_all_are_stopped_the_last_stage_first(tmp_path: Path) -> None:
    with supervised(tmp_path, [("relay", WELL), ("worker", WELL)], [("bridge", WELL), ("api", WELL)]) as running:
        running.says(4)
        running.stop.set()
        assert running.says(2).keys() == {"bridge", "api"}
        assert running.says(2).keys() == {"relay", "worker"}
        assert running.exit_code() == 0


def test_a_part_that_rejects_its_settings_stops_all(tmp_path: Path) -> None:
    with supervised(tmp_path, [("relay", WELL)], [("api", REJECTING)]) as running:
        assert running.exit_code() == 2


def test_a_part_that_does_not_stop_delays_the_others_for_a_while_and_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "_PATIENCE_S", 0.5)
    monkeypatch.setattr(supervising, "_STOP_TIMEOUT_S", 2.0)
    with supervised(tmp_path, [("relay", WELL)], [("api", STUBBORN)]) as running:
        stubborn = os.pidfd_open(running.says(2)["api"].pid)
        running.stop.set()
        assert [running.said().part for _ in range(2)] == ["api", "relay"]
        assert running.exit_code() == 1
    # A process descriptor is readable once its process has ended.
    assert select.select([stubborn], [], [], 0)[0] == [stubborn]
    os.close(stubborn)


def test_a_part_that_waits_for_its_next_start_does_not_delay_the_stop(tmp_path: Path) -> None:
    with testing.capture_logs() as log, supervised(tmp_path, [("worker", "import sys; sys.exit(1)")]) as running:
        waiting.wait_until(lambda: any(line["event"] == "run.part_died" for line in log), deadline_s=DEADLINE_S)
        running.stop.set()
        assert running.exit_code() == 0
