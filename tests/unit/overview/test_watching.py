from __future__ import annotations

import contextlib
import http.server
import io
import threading
from typing import TYPE_CHECKING, Any

import pytest
from rich import console

from allocation import bootstrap, views
from allocation.entrypoints.overseeing import parts, picture, watching
from allocation.service_layer import ports
from allocation.service_layer.operations.overview import flow
from tests import waiting
from tests.unit.overview import builders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def down() -> Any:
    raise ports.DependencyDown("it is\ndown")


class World:
    """Answers to all questions, and a clock that goes when told."""

    def __init__(self, **other: Callable[[], Any]) -> None:
        self.now = 0.0
        self.asked = 0
        answers: dict[str, Any] = {
            "logs": self._logs,
            "members": lambda: (builders.A_WORKER,),
            "belongs": lambda: "here",
            "work": lambda: builders.some_work(2),
            "stock": lambda: None,
            "products": lambda *_: views.StockPage(0, 0, ()),
            "others": {},
        } | other
        oversight = bootstrap.Oversight(**answers, expected=(ports.Retryable,))
        self.watch = watching.Watch(oversight, parts={"worker": lambda: "is stopped"}, clock=lambda: self.now)

    def look(self, *, after_s: float = 1.0) -> flow.Overview:
        self.now += after_s
        self.watch.ask()
        return self.watch.look()

    def _logs(self) -> Any:
        self.asked += 1
        return builders.some_logs(5)


def eventually(
    world: World, condition: Callable[[flow.Overview], bool], *, look_after_s: float = 0.01
) -> flow.Overview:
    """Look until it is so; answers come from threads."""
    found: list[flow.Overview] = []

    def look() -> bool:
        found.append(world.look(after_s=look_after_s))
        return condition(found[-1])

    waiting.wait_until(look)
    return found[-1]


def test_answers_are_put_together() -> None:
    found = eventually(World(), lambda one: bool(one.status.lags) and one.seen.cluster_id is not None)
    assert [lag.lag for lag in found.status.lags] == [3]
    assert found.seen.parts.keys() == {"worker"}


def test_a_service_that_is_down_is_named_once_and_all_else_is_shown() -> None:
    found = eventually(World(logs=down, members=down, belongs=down), lambda one: "Kafka" in one.status.problems)
    assert found.status.problems == {"Kafka": "it is down"}
    assert eventually(World(logs=down), lambda one: one.status.database is not None).status.kafka is None


def test_a_service_that_says_nothing_is_named_and_nothing_waits_for_it() -> None:
    released = threading.Event()
    world = World(work=lambda: released.wait(waiting_s) and builders.some_work(2))
    waiting_s = 20.0
    try:
        world.look()
        eventually(world, lambda one: one.status.kafka is not None)
        found = world.look(after_s=4)
        assert found.status.problems["database"].startswith("has not answered for 4")
    finally:
        released.set()
    eventually(world, lambda one: "database" not in one.status.problems)


def test_what_reads_whole_tables_rests_for_twenty_times_what_it_took() -> None:
    asked: list[float] = []
    pause = threading.Event()

    def slow() -> Any:
        asked.append(world.now)
        pause.wait(0.05)

    world = World(stock=slow)
    eventually(world, lambda one: one.status.kafka is not None and not stock_is_asked())
    began = world.now
    world.look(after_s=0.5)
    assert len(asked) == 1
    eventually(world, lambda _one: len(asked) == 2, look_after_s=0.1)
    assert world.now - began >= 0.9


def stock_is_asked() -> bool:
    return any(thread.name == "asking" for thread in threading.enumerate())


def test_a_part_that_is_not_well_is_told() -> None:
    found = eventually(World(), lambda one: one.seen.parts["worker"] == "is stopped")
    assert ("worker", "is stopped") in found.alarms


class Answering(http.server.BaseHTTPRequestHandler):
    status, body = 200, b"{}"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_args: object) -> None:
        pass


@contextlib.contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    handler = type("Handler", (Answering,), {"status": status, "body": body})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_part_that_is_ready_is_well() -> None:
    with answering(200, b"{}") as url:
        assert parts.ask(url) == ""


@pytest.mark.parametrize(
    ("body", "expected"),
    [(b'{"problems": {"work": "no answer"}}', "work: no answer"), (b"[]", "it does not say why"), (b"<", "say why")],
)
def test_a_part_that_is_not_ready_says_why(body: bytes, expected: str) -> None:
    with answering(503, body) as url:
        assert expected in parts.ask(url)


def test_several_parts_are_asked_at_once_and_tell_check_by_check() -> None:
    body = b'{"ready": false, "problems": {"circuit": "open"}, "well": {"partitions": "held: allocate/1"}}'
    with answering(503, body) as worker, answering(200, b'{"problems": {}, "well": {"shard 0": "active"}}') as relay:
        found = parts.look_at({"worker": worker, "relay": relay})
    assert found["worker"].problem == f"at {worker} is not ready: circuit: open"
    assert found["worker"].problems == {"circuit": "open"}
    assert found["worker"].well == {"partitions": "held: allocate/1"}
    assert (found["relay"].problem, found["relay"].well) == ("", {"shard 0": "active"})
    assert parts.look_at({}) == {}


def test_a_part_that_is_dead_does_not_answer() -> None:
    with answering(200, b"") as url:
        pass
    assert "does not answer" in parts.ask(url)


def test_the_picture_in_the_terminal_names_what_is_wrong_and_is_no_markup() -> None:
    recorder = flow.Recorder()
    for at in range(3):
        found = recorder.add(
            builders.seen(
                at,
                logs=builders.some_logs(40 * at),
                work=builders.some_work(30 * at, rows=3),
                problems={"Redis": "[red]is\ndown"},
            )
        )
    shown = drawn(found)
    assert "1 wrong" in shown
    assert "[red]is down" in shown
    assert "worker-1, 2 partitions" in shown
    assert "allocate/0 20" in shown
    assert "relay-0 vm:17" in shown


def test_the_picture_says_that_all_is_well() -> None:
    assert "all is well" in drawn(flow.Recorder().add(builders.seen(0)))


def test_a_chart_is_scaled_to_its_highest_value_and_leaves_gaps() -> None:
    assert picture.spark([0, None, 5, 10], width=6) == "  ▁ ▅█"


def test_in_a_narrow_terminal_nothing_is_broken() -> None:
    shown = drawn(
        flow.Recorder().add(builders.seen(0, logs=builders.some_logs(4), work=builders.some_work(2))), width=80
    )
    assert "rows wait for the relay" in shown
    assert "commands " in shown
    assert "dead letters 0" in shown


def drawn(overview: flow.Overview, *, width: int = 120) -> str:
    out = console.Console(width=width, record=True, file=io.StringIO())
    out.print(picture.draw(overview, width=width))
    return out.export_text()
