"""One round of questions a second, however many watch: each asked in a thread of its own, and never twice at once.

Never waits: what does not answer in time is said to be silent, and all else goes on.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from allocation.entrypoints.observing import asking
from allocation.service_layer.operations.overview import figures, flow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent import futures

    from allocation import bootstrap

INTERVAL_S = 1.0
# Between the questions of a round and the look at their answers: most are there by then, the others at the next.
SETTLE_S = 0.25
# Longer than what is asked each second ever takes while all is well.
_SILENT_AFTER_S = 2.5
# A client that waits for ever is left to itself; all others give up by themselves before.
_GIVEN_UP_AFTER_S = 30.0

# In rounds: what changes slowly is asked less often.
_ROUNDS = {"members": 2, "installation": 10, "schema registry": 5, "Redis": 5}
# What reads whole tables rests for so many times what it took: it may have a twentieth of a processor at most.
_RESTS = {"stock": 20}
# Which service it is that does not answer, in the words of `status`.
_NAMES = {"logs": "Kafka", "members": "Kafka", "work": "database", "stock": "database"}


class _Found(NamedTuple):
    value: Any = None
    problem: str | None = None


class _Source:
    """One question, and its last answer."""

    def __init__(
        self, ask: Callable[[], Any], *, expected: tuple[type[Exception], ...], rounds: int, rests: int = 0
    ) -> None:
        self._ask = ask
        self._expected = expected
        self._rounds = rounds
        self._rests = rests
        self._left = 0
        self._question = self._new()
        self._asked: futures.Future[Any] | None = None
        self._asked_at = 0.0
        self._took_s = 0.0
        self._found = _Found()

    def ask(self, now: float) -> None:
        """Ask again if it is time."""
        self.look(now)
        self._left -= 1
        if self._asked is None and self._left <= 0 and now >= self._asked_at + self._rests * self._took_s:
            self._left, self._asked_at = self._rounds, now
            self._asked = self._question.asked()

    def look(self, now: float) -> _Found:
        """Return what is known."""
        if self._asked is not None:
            self._take(self._asked, now)
        return self._found

    def _new(self) -> asking.Question[Any]:
        return asking.Question(self._timed, good_for_s=0.0)

    def _timed(self) -> Any:
        began = time.monotonic()
        try:
            return self._ask()
        finally:
            self._took_s = time.monotonic() - began

    def _take(self, asked: futures.Future[Any], now: float) -> None:
        silent_s = now - self._asked_at
        if asked.done():
            self._asked, self._found = None, self._answer(asked)
        elif silent_s > _GIVEN_UP_AFTER_S:
            self._asked, self._question = None, self._new()
        elif silent_s > _SILENT_AFTER_S:
            self._found = _Found(problem=f"has not answered for {silent_s:.0f} s")

    def _answer(self, asked: futures.Future[Any]) -> _Found:
        try:
            return _Found(asked.result())
        except self._expected as error:
            return _Found(problem=" ".join(str(error).split()))


class Watch:
    """Makes an overview at each round: asks, and looks a little later; belongs to one thread."""

    def __init__(
        self,
        oversight: bootstrap.Oversight,
        *,
        parts: Mapping[str, Callable[[], str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        asked: dict[str, Callable[[], Any]] = {
            "logs": oversight.logs,
            "members": oversight.members,
            "work": oversight.work,
            "stock": oversight.stock,
            "installation": oversight.belongs,
            **oversight.others,
        }
        self._clock = clock
        self._sources = {name: self._source(name, ask, oversight.expected) for name, ask in asked.items()}
        self._parts = {name: _Source(ask, expected=(), rounds=1) for name, ask in parts.items()}
        self._recorder = flow.Recorder()

    def ask(self) -> None:
        """Begin a round."""
        now = self._clock()
        for source in (*self._sources.values(), *self._parts.values()):
            source.ask(now)

    def look(self) -> flow.Overview:
        """Return what is known by now."""
        now = self._clock()
        found = {name: source.look(now) for name, source in self._sources.items()}
        problems: dict[str, str] = {}
        for name, one in found.items():
            if one.problem is not None:
                problems.setdefault(_NAMES.get(name, name), one.problem)
        if "Kafka" in problems or "database" in problems:
            problems.pop("installation", None)  # says the same once more
        parts = {name: source.look(now) for name, source in self._parts.items()}
        return self._recorder.add(
            figures.Seen(
                at_s=now,
                time=datetime.now(UTC),
                problems=problems,
                cluster_id=found["installation"].value,
                logs=found["logs"].value,
                members=found["members"].value,
                work=found["work"].value,
                stock=found["stock"].value,
                parts={name: one.problem or one.value or "" for name, one in parts.items()},
            )
        )

    @staticmethod
    def _source(name: str, ask: Callable[[], Any], expected: tuple[type[Exception], ...]) -> _Source:
        return _Source(ask, expected=expected, rounds=_ROUNDS.get(name, 1), rests=_RESTS.get(name, 0))
