from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocation.service_layer.operations.replay import comparing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LINE = ("o1", "LAMP", 3)


class FakeSide:
    def __init__(self, found: Mapping[str, Mapping[Any, Mapping[str, object]]], journal: int = 0) -> None:
        self._found = found
        self._journal = journal

    @property
    def tables(self) -> Mapping[str, int]:
        return {name: len(self._found.get(name, ())) for name in ("products", "batches", "order_lines")}

    def rows(self, table: str) -> Iterator[comparing.Row]:
        return (comparing.Row(key, values) for key, values in sorted(self._found.get(table, {}).items()))

    def journal_numbers(self) -> frozenset[int]:
        return frozenset(range(1, self._journal + 1))


def compare(one: FakeSide, other: FakeSide, *, keep: int = 9) -> comparing.Comparison:
    return comparing.compare(one, other, keep=keep, on_progress=lambda _what, _done, _total: None)


def test_equal_databases_have_no_differences_and_the_newer_one_is_told_to_be() -> None:
    same: dict[str, dict[Any, dict[str, object]]] = {"products": {("LAMP",): {"version_number": 2}}}
    found = compare(FakeSide(same, journal=5), FakeSide(same, journal=3))
    assert (found.compared, found.count, found.differences, found.behind) == (1, 0, [], 2)


def test_a_difference_names_the_row_and_what_of_it_is_another() -> None:
    live = FakeSide({"batches": {("b1",): {"purchased": 9, "allocated": 1}}, "order_lines": {LINE: {"place": 0}}})
    rebuilt = FakeSide(
        {"products": {("LAMP",): {"version_number": 2}}, "batches": {("b1",): {"purchased": 4, "allocated": 1}}}
    )
    assert [str(one) for one in compare(live, rebuilt).differences] == [
        "sku LAMP: live is not there; rebuilt version_number 2",
        "batch b1: live purchased 9; rebuilt purchased 4",
        "order o1, 3 of LAMP: live place 0; rebuilt is not there",
    ]


def test_rows_that_only_one_side_has_shift_nothing() -> None:
    live: dict[Any, dict[str, object]] = {(f"s{number}",): {"version_number": number} for number in (1, 2, 4, 5)}
    rebuilt: dict[Any, dict[str, object]] = {(f"s{number}",): {"version_number": number} for number in (2, 3, 4)}
    found = compare(FakeSide({"products": live}), FakeSide({"products": rebuilt}), keep=2)
    assert ([one.subject for one in found.differences], found.count) == (["sku s1", "sku s3"], 3)
