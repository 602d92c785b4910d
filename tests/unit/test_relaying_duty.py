from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import structlog.testing

from allocation.service_layer import ports as outside
from allocation.service_layer import signals
from allocation.service_layer.relaying import duty, passes, ports
from tests.fakes import relaying as fakes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Story:
    """A relay over fakes; each time that it waits for a hint, the next thing of the script happens."""

    script: list[Callable[[], None]] = field(default_factory=list)
    outbox: fakes.FakeOutbox = field(default_factory=fakes.FakeOutbox)
    kafka: fakes.FakeKafka = field(default_factory=fakes.FakeKafka)
    lease: fakes.FakeLease = field(default_factory=fakes.FakeLease)
    stopping: threading.Event = field(default_factory=threading.Event)
    failures: list[Exception] = field(default_factory=list)
    connections: int = 0
    waits: int = 0
    lease_s: float = 60
    delivery: ports.Delivery = ports.Delivery.EXACTLY_ONCE
    signals: signals.Signals = signals.SILENT

    def wait(self, timeout_s: float) -> bool:
        del timeout_s
        self.waits += 1
        if self.script:
            self.script.pop(0)()
        else:
            self.stopping.set()
        return True

    @contextlib.contextmanager
    def connect(self) -> Iterator[ports.Desk]:
        self.connections += 1
        if self.failures:
            raise self.failures.pop(0)
        is_exact = self.delivery is ports.Delivery.EXACTLY_ONCE
        yield ports.Desk(
            lease=self.lease,
            outbox=self.outbox,
            hints=self,
            open_log=self.kafka.open_log if is_exact else self.kafka.open_idempotent_log,
            open_transactions=self.kafka.open_log,
        )

    def run(self) -> list[str]:
        """Run until the script is over; return what was logged."""
        with structlog.testing.capture_logs() as lines:
            duty.Duty(
                shard=0,
                connect=self.connect,
                lease_s=self.lease_s,
                delivery=self.delivery,
                signals=self.signals,
            ).run(self.stopping)
        return [line["event"] for line in lines]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duty, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(duty, "STANDBY_S", 0.001)


def test_what_is_there_at_the_start_is_relayed_without_a_hint() -> None:
    story = Story()
    story.outbox.insert(1)
    assert story.run() == ["relay.pass", "relay.active"]
    assert story.kafka.sent_ids == [1]


def test_a_hint_causes_a_pass() -> None:
    story = Story()
    story.script = [lambda: story.outbox.insert(1), lambda: story.outbox.insert(2)]
    story.run()
    assert story.kafka.sent_ids == [1, 2]


def test_a_backlog_is_relayed_without_waiting_between_passes() -> None:
    story = Story()
    for row_id in range(2 * passes.MAX_ROWS + 1):
        story.outbox.insert(row_id)
    story.run()
    assert (story.kafka.transactions, story.waits) == (3, 1)


def test_the_lease_is_given_back_at_the_end() -> None:
    story = Story()
    story.run()
    assert not story.lease.is_ours


def test_a_standby_touches_nothing_until_the_lease_is_free() -> None:
    story = Story()
    story.outbox.insert(1)
    seen = []

    def see_and_free() -> None:
        seen.append((story.kafka.epoch, story.outbox.ids))
        story.lease.become_free()

    story.lease = fakes.FakeLease(is_free=False, on_denied=see_and_free)
    assert story.run() == ["relay.standby", "relay.pass", "relay.active"]
    assert seen == [(0, [1])]


def test_a_relay_that_lost_its_lease_sends_nothing_more() -> None:
    story = Story(lease_s=0)

    def lose_the_lease() -> None:
        story.lease.take_away()
        story.outbox.insert(1)

    story.script = [lose_the_lease]
    story.lease.on_denied = story.stopping.set
    assert story.run() == ["relay.active", "relay.superseded", "relay.standby"]
    assert story.kafka.sent_ids == []


@pytest.mark.parametrize("error", [outside.DependencyDown("no answer"), outside.Retryable("conflict")])
def test_an_outage_is_logged_once_and_outlasted(error: Exception) -> None:
    story = Story(failures=[error] * 5)
    story.outbox.insert(1)
    assert story.run() == ["relay.paused", "relay.pass", "relay.active"]
    assert story.connections == 6


class Patient(threading.Event):
    """Is not waited for; notes for how long it would have been."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits_s.append(timeout)
        return self.is_set()


def test_in_a_long_outage_pauses_grow_up_to_a_limit_and_no_two_relays_keep_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duty, "_FIRST_PAUSE_S", 0.1)
    stopping = Patient()
    Story(failures=[outside.DependencyDown("no answer")] * 200, stopping=stopping).run()
    pauses_s = [pause_s for pause_s in stopping.waits_s[:200] if pause_s is not None]
    assert pauses_s[0] <= 0.1
    assert max(pauses_s) <= 3
    assert min(pauses_s[5:]) >= 1.5
    assert len(set(pauses_s[5:])) > 100


def test_a_commit_without_an_answer_is_decided_by_recovery() -> None:
    story = Story(kafka=fakes.FakeKafka(loses_answer=True))
    story.outbox.insert(1)
    assert story.run() == ["relay.paused", "relay.active"]
    assert story.kafka.sent_ids == [1]
    assert story.outbox.ids == []


def test_a_refused_row_does_not_stop_the_others() -> None:
    story = Story(kafka=fakes.FakeKafka(refuses=lambda row: row[0] == 2))
    for row_id, sku in ((1, "LAMP"), (2, "CHAIR"), (3, "LAMP")):
        story.outbox.insert(row_id, sku=sku)
    story.script = [lambda: None] * 3
    story.run()
    assert story.kafka.sent_ids == [1, 3]
    assert story.outbox.quarantined_ids == [2]


def test_a_contradiction_between_database_and_topic_is_left_to_a_person() -> None:
    story = Story(kafka=fakes.FakeKafka(checkpoints=[]))
    with pytest.raises(ports.RelayStopped):
        story.run()


def test_the_relay_delivers_otherwise_once_the_outbox_is_empty() -> None:
    story = Story(delivery=ports.Delivery.AT_LEAST_ONCE)
    story.script = [lambda: story.outbox.insert(1)]
    assert story.run() == ["relay.switched", "relay.active", "relay.pass"]
    assert story.kafka.sent_ids == [1]
    assert story.kafka.transactions == 0


def test_a_relay_that_is_to_deliver_otherwise_stops_while_rows_are_left() -> None:
    story = Story(delivery=ports.Delivery.AT_LEAST_ONCE)
    story.outbox.insert(1)
    with pytest.raises(ports.RelayStopped, match="Set ALLOCATION_DELIVERY=exactly_once, let the relay send them"):
        story.run()
    assert story.kafka.sent_ids == []
