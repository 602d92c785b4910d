from __future__ import annotations

import pytest

from allocation.service_layer import brakes


def circuit(limit: float = 0.5) -> brakes.Circuit:
    return brakes.Circuit(limit=limit)


@pytest.mark.parametrize("word", ["refused", "poisoned"])
def test_a_worker_that_refuses_most_of_what_it_reads_stops(word: str) -> None:
    subject = circuit()
    subject.count({word: 501, "handled": 499})
    assert subject.is_open


def test_half_is_not_most() -> None:
    subject = circuit()
    subject.count({"refused": 500, "handled": 500})
    assert not subject.is_open


def test_a_few_messages_tell_nothing() -> None:
    subject = circuit()
    subject.count({"refused": 999})
    assert not subject.is_open
    subject.count({"refused": 1})
    assert subject.is_open


def test_what_is_long_past_does_not_count() -> None:
    subject = circuit()
    subject.count({"handled": 5000})
    for _ in range(9):
        subject.count({"refused": 60, "handled": 40})
    assert not subject.is_open
    subject.count({"refused": 60, "handled": 40})
    assert subject.is_open


def test_what_waited_too_long_or_is_known_already_is_no_new_refusal() -> None:
    subject = circuit()
    subject.count({"expired": 2000, "duplicate": 2000, "waited": 2000})
    assert not subject.is_open


def test_a_limit_of_one_is_never_passed() -> None:
    subject = circuit(limit=1)
    subject.count({"refused": 5000})
    assert not subject.is_open


def test_it_stays_open() -> None:
    subject = circuit()
    subject.count({"refused": 1000})
    subject.count({"handled": 100_000})
    assert subject.is_open


class Outbox:
    def __init__(self) -> None:
        self.rows = 0

    def look(self, at_most: int) -> brakes.Look:
        return brakes.Look(min(self.rows, at_most))


def test_a_full_outbox_brakes_until_a_tenth_of_it_is_free() -> None:
    outbox = Outbox()
    subject = brakes.Brakes(circuit=circuit(), outbox_limit=100, database=outbox.look)
    seen = []
    for rows in (99, 100, 99, 90, 89, 99, 100):
        outbox.rows = rows
        subject.look()
        seen.append(subject.reason is not None)
    assert seen == [False, True, True, True, False, False, True]
    assert subject.reason is not None
    assert "100 rows wait in the outbox" in subject.reason


def test_an_open_circuit_brakes_and_says_what_to_do() -> None:
    subject = brakes.Brakes(circuit=circuit(), outbox_limit=1, database=lambda _: brakes.Look(0))
    subject.circuit.count({"refused": 1000})
    assert "ALLOCATION_REFUSAL_LIMIT=1 switches this off" in (subject.reason or "")


def test_slow_batches_make_smaller_ones_and_quick_ones_larger_again() -> None:
    subject = brakes.BatchSize(100)
    sizes = []
    for duration_s in (0.1, 2.1, 30, 30, 30, 30, 30, 30, 30, 2.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1):
        subject.took(duration_s)
        sizes.append(subject.records)
    assert sizes == [100, 50, 25, 12, 6, 3, 1, 1, 1, 2, 4, 8, 16, 32, 64, 100, 100]
