from __future__ import annotations

import threading
from concurrent import futures
from typing import TypeVar

import pytest

from allocation.entrypoints.observing import asking, readiness
from allocation.service_layer import ports, signals
from allocation.service_layer.operations import status

_T = TypeVar("_T")

NOTHING = status.Backlog(0, None)


def figures(outbox: status.Backlog = NOTHING) -> status.DatabaseFigures:
    return status.DatabaseFigures(next_offsets={}, outbox=outbox, quarantined=NOTHING, parked={}, owners={})


class Scene:
    """A part of which all is well, until a test says otherwise."""

    def __init__(self) -> None:
        self.standing = signals.Standing()
        self.standing.says("work")
        self.outbox = NOTHING
        self.down: set[str] = set()
        self.hangs = threading.Event()
        self.hangs.set()

    def answer(self) -> readiness.Answer:
        return self.ready().look()

    def ready(self) -> readiness.Readiness:
        return readiness.Readiness(
            standing=self.standing,
            database=lambda: self._ask("database", figures(self.outbox)),
            partitions=lambda: self._ask("kafka", ()),
            others={"schema registry": lambda: self._ask("schema registry", None)},
            expected=(ports.Retryable,),
            outbox_age_limit_s=30,
        )

    def _ask(self, name: str, answer: _T) -> _T:
        self.hangs.wait(10)
        if name in self.down:
            raise ports.DependencyDown(f"{name} does not answer:\n\tit is away")
        return answer


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_part_is_ready_when_all_is_well(scene: Scene) -> None:
    answer = scene.answer()
    assert (answer.status, answer.body["problems"]) == (200, {})
    assert answer.body["well"] == {
        "work": "ok",
        "database": "ok",
        "kafka": "ok",
        "schema registry": "ok",
        "outbox": "0 rows",
    }


@pytest.mark.parametrize("name", ["database", "kafka", "schema registry"])
def test_what_does_not_answer_is_named_with_its_reason_in_one_line(scene: Scene, name: str) -> None:
    scene.down = {name}
    answer = scene.answer()
    assert (answer.status, answer.body["problems"]) == (503, {name: f"{name} does not answer: it is away"})


def test_what_the_part_says_of_itself_counts(scene: Scene) -> None:
    scene.standing.says("circuit", "most was refused")
    assert scene.answer().body["problems"] == {"circuit": "most was refused"}
    scene.standing.says("circuit")
    assert scene.answer().status == 200


def test_a_loop_that_says_nothing_any_more_is_a_problem(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.standing.says("shard 0", state="active")
    monkeypatch.setattr(readiness, "_SILENT_AFTER_S", -1)
    problems = scene.answer().body["problems"]
    assert isinstance(problems, dict)
    assert problems["shard 0"] == "has said nothing for 0 s, and before: active"


def test_rows_that_grow_old_in_the_outbox_are_a_problem(scene: Scene) -> None:
    scene.outbox = status.Backlog(5, 29.0)
    assert scene.answer().status == 200
    scene.outbox = status.Backlog(5, 31.0)
    assert scene.answer().body["problems"] == {"outbox": "5 rows wait, the oldest for 31.0 s: no relay sends them"}


def test_whoever_hangs_is_waited_for_only_so_long(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "PATIENCE_S", 0.01)
    scene.hangs.clear()
    answer = scene.answer()
    assert answer.body["problems"] == dict.fromkeys(("database", "kafka", "schema registry"), "no answer within 0.01 s")
    assert (answer.database, answer.partitions) == (None, None)
    scene.hangs.set()


def test_a_question_is_never_asked_twice_at_once_and_a_fresh_answer_serves_all() -> None:
    asked, answered = threading.Semaphore(0), threading.Event()

    def ask() -> int:
        asked.release()
        answered.wait(10)
        return 1

    question = asking.Question(ask)
    first, second = question.asked(), question.asked()
    assert first is second
    answered.set()
    assert first.result(10) == 1
    assert question.asked() is first
    assert asked.acquire(timeout=10)
    assert not asked.acquire(blocking=False)


def test_an_old_answer_is_asked_for_anew() -> None:
    question = asking.Question(lambda: 1, good_for_s=-1.0)
    first = question.asked()
    futures.wait([first])
    assert question.asked() is not first
