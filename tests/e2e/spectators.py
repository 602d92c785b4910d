"""What people and programs are shown: the console's stream and calls, `top`, `status`, the metrics."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import parser

from tests import waiting
from tests.e2e import parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from allocation import config

Overview = dict[str, Any]
_DATA = "data: "


class Frame(NamedTuple):
    """An overview, and when it was shown by `time.monotonic`."""

    at_s: float
    overview: Overview


class Spectator:
    """Keeps all overviews that come as lines; `name` says from where."""

    def __init__(self, name: str, lines: Iterable[str]) -> None:
        self.name = name
        self.frames: list[Frame] = []
        self._lines = lines
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait_for(self, condition: Callable[[Overview], bool], *, deadline_s: float = parts.DEADLINE_S) -> Frame:
        """Wait for an overview after now of which this is true, and return it."""
        return self.wait_since(time.monotonic(), condition, deadline_s=deadline_s)

    def wait_since(
        self, since_s: float, condition: Callable[[Overview], bool], *, deadline_s: float = parts.DEADLINE_S
    ) -> Frame:
        """Wait for an overview after this moment of which this is true, and return the first such one."""

        def found() -> Frame | None:
            return next((one for one in [*self.frames] if one.at_s >= since_s and condition(one.overview)), None)

        try:
            waiting.wait_until(lambda: found() is not None, deadline_s=deadline_s)
        except AssertionError:
            shown = [(round(one.at_s - since_s, 1), one.overview["alarms"]) for one in self.frames[-10:]]
            raise AssertionError(f"{self.name} did not show it within {deadline_s:g} s; alarms: {shown}") from None
        frame = found()
        assert frame is not None
        return frame

    def join(self) -> None:
        self._thread.join(parts.DEADLINE_S)

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):  # its other side was closed
            for line in self._lines:
                self.frames.append(Frame(time.monotonic(), json.loads(line)))


@contextlib.contextmanager
def of_console(url: str) -> Iterator[Spectator]:
    """Watch the console as its page does."""
    with urllib.request.urlopen(f"{url}/api/live", timeout=parts.DEADLINE_S) as stream:
        lines = (line.decode() for line in stream)
        spectator = Spectator("the console", (line[len(_DATA) :] for line in lines if line.startswith(_DATA)))
        yield spectator


@contextlib.contextmanager
def of_top(settings: config.Settings) -> Iterator[Spectator]:
    """Watch `allocation top --json`."""
    command = [sys.executable, "-m", "allocation", "top", "--json"]
    environment = os.environ | parts.environment(settings)
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        spectator = Spectator("top", process.stdout)
        try:
            yield spectator
        finally:
            process.terminate()
            spectator.join()


def printed(settings: config.Settings, *arguments: str) -> str:
    """Return what a command prints."""
    return subprocess.run(
        [sys.executable, "-m", "allocation", *arguments],
        env=os.environ | parts.environment(settings) | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def called(url: str, **parameters: object) -> Any:
    """Return what a call answers, from JSON."""
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    with urllib.request.urlopen(url + query, timeout=parts.DEADLINE_S) as answer:
        return json.load(answer)


class Metrics:
    """The samples that a part exports."""

    def __init__(self, url: str) -> None:
        with urllib.request.urlopen(f"{url}/metrics", timeout=parts.DEADLINE_S) as answer:
            families = parser.text_string_to_metric_families(answer.read().decode())
        self._samples = [sample for family in families for sample in family.samples]

    def total(self, name: str) -> int:
        """Return the sum of a metric over all labels."""
        return sum(self.by(name).values())

    def by(self, name: str, label: str = "") -> Mapping[str, int]:
        """Return a metric by one of its labels, summed over all others, without what is 0."""
        sums: Counter[str] = Counter()
        found = [sample for sample in self._samples if sample.name == name]
        assert found, f"there is no metric {name}"
        for sample in found:
            sums[sample.labels.get(label, "")] += int(sample.value)
        return +sums


def json_of(settings: config.Settings, *arguments: str) -> Any:
    """Return what a command prints, from JSON."""
    return json.loads(printed(settings, *arguments))
