from __future__ import annotations

import types
from typing import TYPE_CHECKING

import pytest
import stamina
import structlog

from allocation.service_layer import (
    draining,
    failure_policy,
    failures,
    messages,
    ports,
    processing,
    reporting,
    unit_of_work,
)
from tests import builders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RETRIES = 2


class FakeProcessing:
    """Fails for records as told, the last error for ever unless it `mends`; notes what became of them."""

    def __init__(self, failures: dict[int, list[Exception]] | None = None, *, mends: bool = False) -> None:
        self._failures = failures or {}
        self._mends = mends
        self.done: list[int] = []
        self.transactions: list[list[int]] = []
        self.aside: list[tuple[int, str]] = []
        self.tries = 0

    def process(self, records: Sequence[messages.Record], **_: object) -> reporting.Report:
        self.tries += 1
        for record in records:
            pending = self._failures.get(record.offset)
            if pending:
                raise pending.pop(0) if self._mends or len(pending) > 1 else pending[0]
        offsets = [record.offset for record in records]
        self.done.extend(offsets)
        self.transactions.append(offsets)
        return builders.a_report(handled=len(records))

    def set_aside(self, record: messages.Record, *, failure: failures.Failure) -> reporting.Report:
        self.done.append(record.offset)
        self.aside.append((record.offset, failure.error))
        return builders.a_report(poisoned=1)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[structlog.types.EventDict]]:
    """Wait for nothing, and catch what is logged."""
    with stamina.set_testing(True, attempts=RETRIES + 1), structlog.testing.capture_logs() as lines:
        yield lines


def records(count: int) -> list[messages.Record]:
    return [builders.a_record(offset=offset) for offset in range(count)]


def apply(
    subject: FakeProcessing, given: Sequence[messages.Record], *, conflicts_are_faults: bool = False
) -> list[reporting.Report]:
    policy = failure_policy.FailurePolicy(subject, max_retries=RETRIES)
    return policy.process(given, conflicts_are_faults=conflicts_are_faults)


def test_what_does_not_fail_takes_one_transaction() -> None:
    subject = FakeProcessing()
    assert apply(subject, records(8)) == [builders.a_report(handled=8)]
    assert subject.transactions == [list(range(8))]


@pytest.mark.parametrize("culprit", range(7))
def test_exactly_the_failing_message_is_set_aside_and_the_order_kept(culprit: int) -> None:
    subject = FakeProcessing({culprit: [RuntimeError("a bug")]})
    reports = apply(subject, records(7))
    assert subject.aside == [(culprit, "RuntimeError: a bug")]
    assert subject.done == list(range(7))
    assert sum(sum(report.outcomes.values()) for report in reports) == 7


def test_several_failing_messages_are_all_found() -> None:
    subject = FakeProcessing({offset: [RuntimeError("a bug")] for offset in (0, 3, 4)})
    apply(subject, records(8))
    assert [offset for offset, _ in subject.aside] == [0, 3, 4]
    assert subject.done == list(range(8))


def test_one_bad_message_among_thousands_costs_few_transactions() -> None:
    subject = FakeProcessing({1234: [RuntimeError("a bug")]})
    apply(subject, records(2000))
    assert subject.tries < 30


def test_a_message_that_fails_for_a_while_is_handled_in_the_end() -> None:
    subject = FakeProcessing({0: [RuntimeError("once"), RuntimeError("twice"), ValueError("a last time")]}, mends=True)
    apply(subject, records(1))
    assert (subject.aside, subject.done) == ([], [0])


def test_the_last_error_is_the_one_that_is_told() -> None:
    errors = [RuntimeError("first"), RuntimeError("second"), RuntimeError("third"), ValueError("last")]
    subject = FakeProcessing({0: list(errors)})
    apply(subject, records(1))
    assert subject.aside == [(0, "ValueError: last")]
    assert subject.tries == 1 + 1 + RETRIES


@pytest.mark.parametrize(
    "error",
    [ports.Retryable("conflict"), ports.DependencyDown("no database"), processing.LogDiverged("allocate", 0, "gone")],
)
@pytest.mark.parametrize("before", range(5))
def test_what_is_no_fault_of_the_message_is_left_to_the_caller(error: Exception, before: int) -> None:
    subject = FakeProcessing({3: [*(RuntimeError("a bug") for _ in range(before)), error]})
    with pytest.raises(type(error)):
        apply(subject, records(4))
    assert subject.aside == []
    assert 3 not in subject.done


def test_a_conflict_that_never_ends_is_a_fault_of_the_message() -> None:
    subject = FakeProcessing({1: [ports.Retryable("conflict")]})
    apply(subject, records(3), conflicts_are_faults=True)
    assert subject.aside == [(1, "Retryable: conflict")]
    assert subject.done == [0, 1, 2]


def test_a_dead_dependency_is_never_a_fault_of_the_message() -> None:
    subject = FakeProcessing({1: [ports.DependencyDown("no database")]})
    with pytest.raises(ports.DependencyDown):
        apply(subject, records(3), conflicts_are_faults=True)
    assert subject.aside == []


def test_the_log_names_where_the_message_lies(logged: list[structlog.types.EventDict]) -> None:
    apply(FakeProcessing({1: [RuntimeError("a bug")]}), records(2))
    [line] = [line for line in logged if line["event"] == "worker.message_set_aside"]
    assert (line["topic"], line["partition"], line["offset"]) == ("allocate", 0, 1)


def test_any_error_can_be_written_down(logged: list[structlog.types.EventDict]) -> None:
    subject = FakeProcessing({0: [RuntimeError("NUL \0 and surrogate \ud800 " + "x" * 100_000)]})
    apply(subject, records(1))
    [(_, error)] = subject.aside
    assert error.startswith(r"RuntimeError: NUL \0 and surrogate \ud800 xxx")
    assert len(error.encode()) < 2000
    assert logged[-1]["error"] == error


def test_a_lock_that_somebody_holds_for_long_is_never_a_fault_of_the_message() -> None:
    subject = FakeProcessing({1: [ports.LockedOut("locked")]})
    with pytest.raises(ports.LockedOut):
        apply(subject, records(3), conflicts_are_faults=True)
    assert subject.aside == []


def test_a_message_that_fails_is_given_more_time_from_try_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    first, again = waits(monkeypatch, tries=8), waits(monkeypatch, tries=8)
    # The library doubles the first wait, adds jitter up to as much as that, and ends at the last.
    least = [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert not [(wait, low) for wait, low in zip(first, least, strict=True) if not low <= wait <= min(low + 0.05, 1.0)]
    assert all(one != another for one, another in zip(first[:5], again[:5], strict=True)), "without jitter"


def waits(monkeypatch: pytest.MonkeyPatch, *, tries: int) -> list[float]:
    """Return how long the policy waits between the tries that it has for a message, without waiting."""
    waited: list[float] = []
    monkeypatch.setattr("tenacity.nap.time", types.SimpleNamespace(sleep=waited.append))
    subject = FakeProcessing({0: [RuntimeError("a bug")]})
    with stamina.set_testing(False):
        failure_policy.FailurePolicy(subject, max_retries=tries - 1).process(records(1))
    assert (subject.tries, subject.aside) == (1 + tries, [(0, "RuntimeError: a bug")])
    return waited


class Releasing:
    """Releases parked commands with the record at offset 1; some of them fail, so often."""

    def __init__(self, **failing: int) -> None:
        self.left = failing
        self.tries = 0
        self.stack = ""
        self.failed: list[str] = []
        self.done: list[int] = []
        self.aside: list[int] = []

    def process(
        self, records: Sequence[messages.Record], *, failed: Mapping[draining.Culprit, failures.Failure]
    ) -> reporting.Report:
        if any(record.offset == 1 for record in records):
            self.release(failed=failed)
        self.done.extend(record.offset for record in records)
        return builders.a_report(handled=len(records))

    def release(self, *, failed: Mapping[draining.Culprit, failures.Failure]) -> reporting.Report:
        self.tries += 1
        for name, times in self.left.items():
            record = a_parked_record(name)
            if draining.Culprit(record.log, record.offset) in failed:
                continue
            message = builders.a_message(builders.an_allocate(orderid=name), record=record)
            parked = unit_of_work.ParkedCommand("sku:LAMP", "waiting", message, "", "", None)
            if times:
                self.left[name] -= 1
                raise draining.Failed(parked, failures.Failure(f"{name} is cursed", "Curse", self.stack or name))
        self.failed = [failure.error for failure in failed.values()]
        return reporting.Report()

    def set_aside(self, record: messages.Record, *, failure: failures.Failure) -> reporting.Report:
        self.aside.append(record.offset)
        raise AssertionError(failure)


FOR_EVER = 99


def a_parked_record(name: str) -> messages.Record:
    return builders.a_record(topic="allocate", partition=7, offset=int.from_bytes(name.encode()))


def test_a_parked_command_that_fails_is_to_blame_and_not_what_released_it() -> None:
    subject = Releasing(b=FOR_EVER)
    reports = failure_policy.FailurePolicy(subject, max_retries=RETRIES).process(records(4))
    assert (subject.failed, subject.done, len(reports)) == (["b is cursed"], [0, 1, 2, 3], 1)


def test_a_parked_command_that_fails_for_a_while_is_not_blamed() -> None:
    subject = Releasing(b=2)
    failure_policy.FailurePolicy(subject, max_retries=RETRIES).process(records(2))
    assert (subject.failed, subject.done) == ([], [0, 1])


def test_several_parked_commands_may_fail() -> None:
    subject = Releasing(a=FOR_EVER, c=FOR_EVER)
    failure_policy.FailurePolicy(subject, max_retries=RETRIES).process(records(2))
    assert subject.failed == ["a is cursed", "c is cursed"]


def test_the_same_holds_when_a_release_goes_on() -> None:
    subject = Releasing(a=FOR_EVER, b=1, c=FOR_EVER)
    failure_policy.FailurePolicy(subject, max_retries=RETRIES).passage()(subject.release)
    assert subject.failed == ["a is cursed", "c is cursed"]


def test_the_log_tells_which_parked_command_it_was(logged: list[structlog.types.EventDict]) -> None:
    failure_policy.FailurePolicy(Releasing(c=FOR_EVER), max_retries=RETRIES).process(records(2))
    [line] = [line for line in logged if line["event"] == "worker.parked_message_set_aside"]
    assert (line["partition"], line["offset"], line["queue"], line["stack"]) == (7, ord("c"), "sku:LAMP", "c")


@pytest.mark.parametrize("count", [7, 600])
def test_of_many_parked_commands_that_meet_the_same_bug_only_the_first_is_tried_again(count: int) -> None:
    subject = Releasing(**{f"{number}": FOR_EVER for number in range(count)})
    subject.stack = "the same"
    failure_policy.FailurePolicy(subject, max_retries=RETRIES).process(records(2))
    assert (len(subject.failed), subject.done, subject.tries) == (count, [0, 1], count + 1 + RETRIES + 1)


def test_of_many_messages_that_meet_the_same_bug_only_the_first_is_tried_again() -> None:
    subject = FakeProcessing({offset: [RuntimeError("a bug")] for offset in range(8)})
    apply(subject, records(8))
    assert ([offset for offset, _ in subject.aside], subject.tries) == (list(range(8)), 15 + 1 + RETRIES)


def test_one_pass_is_patient_for_so_long_however_many_bugs_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Releasing(a=FOR_EVER, b=FOR_EVER, c=FOR_EVER)
    monkeypatch.setattr(failure_policy, "_PATIENCE_S", 0.0)
    failure_policy.FailurePolicy(subject, max_retries=RETRIES).process(records(2))
    assert (len(subject.failed), subject.tries) == (3, 4)


def test_where_many_parked_commands_fail_fewer_are_to_be_gone_through_and_the_known_ones_are_not_tried_again() -> None:
    subject = Releasing(a=FOR_EVER, b=FOR_EVER, c=FOR_EVER)
    passage = failure_policy.FailurePolicy(subject, max_retries=0).passage()
    with pytest.raises(draining.Failed):
        passage(subject.release)
    tries = subject.tries
    passage(subject.release)
    assert (subject.failed, subject.tries) == (["a is cursed", "b is cursed", "c is cursed"], tries + 1)
