"""A worker that was shut out of its group joins again, unless another one uses its name."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from allocation import bootstrap, config
from allocation.entrypoints import rejoining, worker
from allocation.service_layer import ports, signals

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def a_worker(clock: Clock, *, instance_id: str | None = "till-1") -> rejoining.Rejoining:
    return rejoining.Rejoining(group="shop", instance_id=instance_id, clock=clock)


def thrown_out() -> ports.MembershipLost:
    return ports.MembershipLost("fenced", was_member=True)


def test_two_under_one_name_end_with_one_that_says_so(clock: Clock) -> None:
    older, younger = a_worker(clock), a_worker(clock)
    for _ in range(rejoining.EXPULSIONS - 1):
        clock.now += 1
        older.note(thrown_out())
        clock.now += 1
        younger.note(thrown_out())
    with pytest.raises(ports.MembershipLost) as caught:
        older.note(thrown_out())
    assert str(caught.value) == (
        "this worker was thrown out 5 times within 7 s by group shop: another one uses its instance id 'till-1'; "
        "give each worker an ALLOCATION_CONSUMER_INSTANCE_ID of its own"
    )


def test_outages_now_and_then_do_not_end_it(clock: Clock) -> None:
    subject = a_worker(clock)
    for _ in range(100):
        clock.now += rejoining.WITHIN_S / (rejoining.EXPULSIONS - 1) + 1
        subject.note(thrown_out())


def test_one_that_is_not_let_in_waits_for_the_session_of_its_predecessor(clock: Clock) -> None:
    subject = a_worker(clock)
    subject.note(ports.MembershipLost("still used"))
    clock.now += rejoining.REFUSED_S
    subject.note(ports.MembershipLost("still used"))
    clock.now += 1
    with pytest.raises(ports.MembershipLost, match="not let in for 91 s by group shop: another one uses"):
        subject.note(ports.MembershipLost("still used"))


def test_one_without_a_name_is_not_told_about_names(clock: Clock) -> None:
    subject = a_worker(clock, instance_id=None)
    for _ in range(rejoining.EXPULSIONS - 1):
        subject.note(thrown_out())
    with pytest.raises(ports.MembershipLost, match="by group shop; see the warnings before"):
        subject.note(thrown_out())


class FakeWorkers:
    """What `bootstrap.worker` opens: each is shut out, but for the last, which works until it is stopped."""

    def __init__(self, stop: threading.Event, shut_out: int) -> None:
        self.opened = 0
        self._stop = stop
        self._shut_out = shut_out

    @contextlib.contextmanager
    def open(self, *_: Any, **__: Any) -> Iterator[FakeWorkers]:
        self.opened += 1
        yield self

    def run(self, _: threading.Event) -> None:
        if self.opened <= self._shut_out:
            raise thrown_out()
        self._stop.set()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


def serve(workers: FakeWorkers, stop: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "worker", workers.open, raising=False)
    monkeypatch.setattr(worker, "_RETRY_S", 0.0)
    monkeypatch.setenv("ALLOCATION_CONSUMER_INSTANCE_ID", "till-1")
    with structlog.testing.capture_logs():
        worker.serve(config.load(), stop, signals.SILENT)


def test_a_worker_that_was_thrown_out_joins_again(stop: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    workers = FakeWorkers(stop, shut_out=2)
    serve(workers, stop, monkeypatch)
    assert workers.opened == 3


def test_a_worker_that_is_thrown_out_again_and_again_ends(
    stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = FakeWorkers(stop, shut_out=99)
    with pytest.raises(ports.MembershipLost, match="till-1"):
        serve(workers, stop, monkeypatch)
    assert workers.opened == rejoining.EXPULSIONS
