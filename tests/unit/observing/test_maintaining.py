"""The maintenance says what it does, and while it waits for hours that it waits."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from allocation import bootstrap, config
from allocation.entrypoints import maintenance
from allocation.service_layer import ports, signals

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


class Turn:
    def __init__(self, *, is_ours: bool) -> None:
        self._is_ours = is_ours
        self.releases = 0

    def acquire(self) -> bool:
        return self._is_ours

    def release(self) -> None:
        self.releases += 1


class Work:
    def __init__(self, failures: list[Exception]) -> None:
        self._failures = failures

    def run(self, _stop: threading.Event, *, on_progress: Any) -> Iterator[Any]:
        on_progress("inbox", 1, 2)
        if self._failures:
            raise self._failures.pop()
        yield from ()


class Heard(signals.Signals):
    """Stops when it has heard enough."""

    def __init__(self, stop: threading.Event, *, enough: int) -> None:
        self._stop = stop
        self._enough = enough
        self.said: list[tuple[str, str | None, str]] = []

    def says(self, item: str, problem: str | None = None, *, state: str = "ok") -> None:
        self.said.append((item, problem, state))
        if len(self.said) >= self._enough:
            self._stop.set()


def served(
    monkeypatch: pytest.MonkeyPatch, *, enough: int, is_ours: bool = True, failures: list[Exception] | None = None
) -> list[tuple[str, str | None, str]]:
    """Return what is said of it until it was said often enough."""
    monkeypatch.setattr(maintenance, "_SAY_S", 0.001)
    monkeypatch.setattr(maintenance, "_RETRY_S", 0.001)
    turn, work = Turn(is_ours=is_ours), Work(failures or [])
    monkeypatch.setattr(bootstrap, "maintenance_turn", lambda _settings: contextlib.nullcontext(turn))
    monkeypatch.setattr(bootstrap, "maintenance", lambda _settings: contextlib.nullcontext(work))
    stop = threading.Event()
    heard = Heard(stop, enough=enough)
    maintenance.serve(config.load(_env_file=None), stop, signals=heard)
    return heard.said


def test_it_tells_where_it_is_and_then_again_and_again_that_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert served(monkeypatch, enough=4) == [
        ("work", None, "inbox: 1 of 2 pages"),
        *[("work", None, "done, until it is time again")] * 3,
    ]


def test_one_that_stands_by_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    assert served(monkeypatch, enough=2, is_ours=False) == [("work", None, "standby")] * 2


def test_what_does_not_answer_is_its_problem_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    said = served(monkeypatch, enough=4, failures=[ports.DependencyDown("no answer")])
    assert said[1:] == [
        ("work", "no answer", "ok"),
        ("work", None, "inbox: 1 of 2 pages"),
        ("work", None, "done, until it is time again"),
    ]
