from __future__ import annotations

from allocation.entrypoints.cli import status as cli_status
from allocation.entrypoints.overseeing import plain
from allocation.service_layer.operations.overview import flow
from tests.unit.overview import builders


def test_rates_are_by_second_over_the_last_looks() -> None:
    recorder = flow.Recorder()
    recorder.add(builders.seen(10, logs=builders.some_logs(100), work=builders.some_work(90, written=50)))
    found = recorder.add(builders.seen(12, logs=builders.some_logs(120), work=builders.some_work(118, written=70)))
    assert found.rates == {"arrived": 10, "handled": 14, "written": 10, "sent": 10, "announced": 0}


def test_events_have_a_rate_between_the_looks_at_the_stock() -> None:
    recorder = flow.Recorder()
    early, late = builders.some_stock(announced=10), builders.some_stock(announced=40)
    for at_s, stock in enumerate([early, early, early, late, late]):
        found = recorder.add(builders.seen(at_s, stock=stock))
    assert found.rates["announced"] == 10


def test_only_the_last_looks_count_for_a_rate() -> None:
    recorder = flow.Recorder()
    for at_s in range(20):
        found = recorder.add(builders.seen(at_s, logs=builders.some_logs(1000 if at_s else 0)))
    assert found.rates["arrived"] == 0


def test_rows_that_wait_are_written_and_not_sent() -> None:
    recorder = flow.Recorder()
    recorder.add(builders.seen(0, work=builders.some_work(written=10)))
    found = recorder.add(builders.seen(1, work=builders.some_work(written=30, rows=15)))
    assert (found.rates["written"], found.rates["sent"], found.levels["outbox"]) == (20, 5, 15)


def test_the_first_look_has_no_rates() -> None:
    found = flow.Recorder().add(builders.seen(0, logs=builders.some_logs(5), work=builders.some_work(2)))
    assert set(found.rates.values()) == {None}
    assert found.levels["lag"] == 3


def test_what_does_not_answer_leaves_a_gap_and_no_jump() -> None:
    recorder = flow.Recorder()
    for at_s, logs in enumerate((builders.some_logs(0), None, builders.some_logs(500), builders.some_logs(501))):
        found = recorder.add(builders.seen(at_s, logs=logs))
    assert list(found.series["arrived"]) == [None, None, None, 1]


def test_a_topic_that_was_made_anew_gives_no_negative_rate() -> None:
    recorder = flow.Recorder()
    recorder.add(builders.seen(0, logs=builders.some_logs(500)))
    assert recorder.add(builders.seen(1, logs=builders.some_logs(0))).rates["arrived"] == 0


def test_no_more_than_two_minutes_are_kept() -> None:
    recorder = flow.Recorder()
    for at_s in range(flow.KEPT + 5):
        found = recorder.add(builders.seen(at_s, logs=builders.some_logs(at_s)))
    assert {len(values) for values in found.series.values()} == {flow.KEPT}


def test_each_topic_of_events_has_its_own_rate() -> None:
    recorder = flow.Recorder()
    recorder.add(builders.seen(0, logs=builders.some_logs(0, events=4)))
    found = recorder.add(builders.seen(2, logs=builders.some_logs(0, events=10)))
    assert found.topics == {"line_allocated": (10, 3.0)}


def test_each_topic_of_commands_has_its_own_rate() -> None:
    recorder = flow.Recorder()
    recorder.add(builders.seen(0, logs=builders.some_logs(4, 2)))
    assert recorder.add(builders.seen(2, logs=builders.some_logs(10, 4))).arrivals == {"allocate": 4.0}


def test_programs_and_viewers_are_told_the_figures_of_status() -> None:
    found = flow.Recorder().add(
        builders.seen(0, logs=builders.some_logs(5, dead_letters=2), work=builders.some_work(2, rows=4))
    )
    told = plain.plain(found)
    assert told["status"] == cli_status.figures(found.status)
    assert (told["status"]["lag"], told["status"]["outbox"]["rows"]) == (3, 4)
    assert told["status"]["dead_letters"] == {"count": 2, "is_exact": True}


def test_missing_topics_are_named_as_in_status() -> None:
    found = flow.Recorder().add(builders.seen(0, logs=builders.some_logs(missing=("a", "b"))))
    assert found.status.problems["topics"] == "a, b: missing; `allocation init` creates the topics"
