from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import stamina
import structlog

from allocation.service_layer import failure_policy, messages, ports, processing
from tests import builders

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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

    def process(self, records: Sequence[messages.Record]) -> processing.Report:
        self.tries += 1
        for record in records:
            pending = self._failures.get(record.offset)
            if pending:
                raise pending.pop(0) if self._mends or len(pending) > 1 else pending[0]
        offsets = [record.offset for record in records]
        self.done.extend(offsets)
        self.transactions.append(offsets)
        return processing.Report(outcomes={"handled": len(records)})

    def set_aside(self, record: messages.Record, *, error: str) -> processing.Report:
        self.done.append(record.offset)
        self.aside.append((record.offset, error))
        return processing.Report(outcomes={"poisoned": 1})


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[structlog.types.EventDict]]:
    """Wait for nothing, and catch what is logged."""
    with stamina.set_testing(True, attempts=RETRIES + 1), structlog.testing.capture_logs() as lines:
        yield lines


def records(count: int) -> list[messages.Record]:
    return [builders.a_record(offset=offset) for offset in range(count)]


def apply(
    subject: FakeProcessing, given: Sequence[messages.Record], *, conflicts_are_faults: bool = False
) -> list[processing.Report]:
    policy = failure_policy.FailurePolicy(subject, max_retries=RETRIES)
    return policy.process(given, conflicts_are_faults=conflicts_are_faults)


def test_what_does_not_fail_takes_one_transaction() -> None:
    subject = FakeProcessing()
    assert apply(subject, records(8)) == [processing.Report(outcomes={"handled": 8})]
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
