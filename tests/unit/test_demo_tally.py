from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocation.entrypoints.cli.story import order_lines, tally

if TYPE_CHECKING:
    from collections.abc import Mapping

Record = tuple[str, "Mapping[str, Any]"]


def lines(*contents: tuple[str, str, int]) -> list[order_lines.OrderLine]:
    return [order_lines.OrderLine(f"line-{number}", *content) for number, content in enumerate(contents, start=1)]


def allocated(number: int, batchref: str = "b1") -> Record:
    return tally.ALLOCATED, {"id": "event", "causationid": f"line-{number}", "value": {"batchref": batchref}}


def out_of_stock(number: int) -> Record:
    return tally.OUT_OF_STOCK, {"id": "event", "causationid": f"line-{number}", "value": {}}


def refused(number: int) -> Record:
    return tally.REFUSED, {"id": f"line-{number}", "causationid": None, "value": None}


def count(given: list[order_lines.OrderLine], *records: Record, answer: Mapping[str, Any] | None = None) -> tally.Tally:
    return tally.count(given, short=frozenset({"SHORT"}), records=records, ask=lambda _id: answer or {})


def test_every_line_counts_once_by_what_the_topics_and_the_api_say_of_it() -> None:
    given = lines(("o1", "A", 3), ("o1", "A", 3), ("o2", "SHORT", 9), ("o3", "A", -1))
    counted = count(given, allocated(1), out_of_stock(3), refused(4), answer={"status": "handled", "result": "b1"})
    assert counted.problems == []
    assert counted.counts == {tally.ALLOCATED: 1, tally.KNOWN: 1, tally.OUT_OF_STOCK: 1, tally.REFUSED: 1}


def test_a_line_of_which_nobody_knows_anything_is_a_problem() -> None:
    assert count(lines(("o1", "A", 3))).problems == [
        "line-1 repeats no line that has a batch, and no topic says what became of it"
    ]


def test_a_repeated_line_that_the_api_tells_otherwise_of_is_a_problem() -> None:
    given = lines(("o1", "A", 3), ("o1", "A", 3))
    assert count(given, allocated(1), answer={"status": "waiting"}).problems == [
        "line-2 repeats a line in b1; the API says of it: {'status': 'waiting'}"
    ]


def test_two_outcomes_of_one_line_are_a_problem() -> None:
    assert count(lines(("o1", "A", 3)), allocated(1), allocated(1)).problems == ["line-1 has 2 outcomes"]


def test_outcomes_that_do_not_fit_the_file_are_problems() -> None:
    given = lines(("o1", "A", -3), ("o2", "A", 3), ("o3", "A", 3))
    assert count(given, allocated(1), refused(2), out_of_stock(3)).problems == [
        "line-1 asks for -3 pieces and is allocated",
        "line-2 asks for 3 pieces and is refused",
        "line-3 is out of stock, though enough of A was bought",
    ]


def test_of_many_problems_the_first_are_shown() -> None:
    assert list(tally.shown(["a"] * 12)) == ["a"] * 10 + ["… and 2 more"]
    assert list(tally.shown(["a"])) == ["a"]
