"""Histories written down by hand, as the terminal shows them."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from allocation.entrypoints.cli import picturing
from allocation.service_layer.operations import history
from allocation.service_layer.operations.verify import snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

TIME = datetime(2030, 1, 1, 12, tzinfo=UTC)
A, B = snapshot.Line("o1", "CHAIR", 3), snapshot.Line("o1", "CHAIR", 1200)
ETA = date(2030, 2, 1)


def a_step(
    second: int, what: str, line: snapshot.Line | None = None, batchref: str | None = None, *, qty: int | None = None
) -> history.Step:
    """A step because of a command at the offset of its second, sent 20 ms before."""
    at = TIME + timedelta(seconds=second)
    sent_at = at - timedelta(milliseconds=20)
    cause = history.Cause(f"c{second}", "tests", "Allocate(x=1)", "allocate", 4, second, sent_at)
    order = history.Order(at, second, 0, 0, 0)
    eta = ETA if batchref == "late" and what == "created" else None
    return history.Step(
        order=order, what=what, cause=cause, sku="CHAIR", line=line, batchref=batchref, eta=eta, qty=qty
    )


STORY = (
    a_step(0, "created", batchref="early", qty=6),
    a_step(1, "created", batchref="late", qty=12),
    a_step(2, "allocated", A, "early"),
    a_step(3, "out of stock", B),
    a_step(4, "changed", batchref="early", qty=2),
    a_step(4, "deallocated", A, "early"),
    a_step(4, "allocated", A, "late"),
)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def drawn(
    capsys: pytest.CaptureFixture[str],
    kind: str,
    id_: str,
    steps: Sequence[history.Step] = STORY,
    *,
    until: datetime | None = None,
    limit: int = 50,
) -> list[str]:
    found = history.History(subject=history.Subject(kind, id_), everything=steps)
    picturing.draw(found, until=until, limit=limit)
    out = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    return [line for line in out if line]


def test_of_a_sku_each_batch_shows_how_full_it_is_and_was_at_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    heading, early, late, span = drawn(capsys, "sku", "CHAIR")[:4]
    assert heading == "sku CHAIR  as of now, 7 steps"
    assert early == f"  early  {'░' * 24} 0 of 2, in the warehouse  __▅▅_"
    assert late == f"  late   {'█' * 6}{'░' * 18} 3 of 12, ETA 2030-02-01   ___▃"
    assert span == "from 2030-01-01 12:00:00 to 2030-01-01 12:00:04 UTC, a column each step"


def test_of_a_batch_it_is_drawn_alone_as_of_the_time_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    shown = drawn(capsys, "batch", "early", until=TIME + timedelta(seconds=3))
    assert shown[:2] == [
        "batch early  as of 2030-01-01T12:00:03+00:00, 2 steps",
        f"  early  {'█' * 12}{'░' * 12} 3 of 6, in the warehouse  _▅",
    ]
    assert [row.split()[2] for row in shown[-2:]] == ["created", "allocated"]


def test_of_an_order_each_line_shows_which_batch_it_was_in_by_the_letter_of_a_legend(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert drawn(capsys, "order", "o1")[:4] == [
        "order o1  as of now, 4 steps",
        "  3 of CHAIR      AAB  late",
        "  1,200 of CHAIR  ·xx  out of stock",
        "  A early  B late",
    ]


def test_each_step_stands_in_a_table_with_its_cause_and_where_and_when_that_was_sent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    heads, _, *rows = (re.split(r"  +", line.strip()) for line in drawn(capsys, "order", "o1")[5:])
    assert heads == ["time (UTC)", "what", "which", "batch", "because of", "at", "sent"]
    assert [row[1:] for row in rows] == [
        ["allocated", "o1: 3 of CHAIR", "early", "Allocate c2", "allocate/4/2", "12:00:01.980"],
        ["out of stock", "o1: 1,200 of CHAIR", "-", "Allocate c3", "allocate/4/3", "12:00:02.980"],
        ["deallocated", "o1: 3 of CHAIR", "early", "Allocate c4", "allocate/4/4", "12:00:03.980"],
        ["allocated", "o1: 3 of CHAIR", "late", "Allocate c4", "allocate/4/4", "12:00:03.980"],
    ]
    assert rows[0][0] == "2030-01-01 12:00:02.000"


def test_a_cause_that_could_not_be_found_is_told_by_its_id_alone(capsys: pytest.CaptureFixture[str]) -> None:
    lost = dataclasses.replace(STORY[2], cause=history.Cause("gone"), detail="why")
    row = re.split(r"  +", drawn(capsys, "order", "o1", [lost])[-1].strip())
    assert row[1:] == ["allocated (why)", "o1: 3 of CHAIR", "early", "command gone", "-", "-"]


def test_the_last_steps_alone_are_listed_and_the_picture_keeps_all(capsys: pytest.CaptureFixture[str]) -> None:
    shown = drawn(capsys, "sku", "CHAIR", limit=2)
    assert shown[1].endswith("__▅▅_")
    assert [row.split()[2] for row in shown[6:-1]] == ["deallocated", "allocated"]
    assert shown[-1] == "the last 2 of 7 steps; --limit N shows more, --json all"


def test_a_long_history_is_thinned_to_the_width_from_its_first_moment_to_its_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = [snapshot.Line(f"o{number}", "CHAIR", 1) for number in range(1, 401)]
    steps = [
        a_step(0, "created", batchref="big", qty=400),
        *(a_step(number, "allocated", line, "big") for number, line in enumerate(lines, start=1)),
    ]
    _, big, span = drawn(capsys, "sku", "CHAIR", steps)[:3]
    levels = big.rpartition("  ")[2]
    assert (len(levels), levels[0], levels[-1]) == (48, "_", "█")
    assert list(levels) == sorted(levels, key="_▁▂▃▄▅▆▇█".index)
    assert span.endswith("12:06:40 UTC, a column for several steps")


def test_of_many_batches_the_first_are_drawn_and_the_others_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [a_step(0, "created", batchref=f"b{number}", qty=1) for number in range(25)]
    shown = drawn(capsys, "sku", "CHAIR", steps)
    assert shown[20].startswith("  b19 ")
    assert shown[21] == "  … and 5 more; --json has all"
