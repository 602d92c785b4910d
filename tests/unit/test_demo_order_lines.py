from __future__ import annotations

import json
from collections import Counter
from datetime import date

from allocation.entrypoints.cli.story import order_lines

TODAY = date(2030, 1, 1)


def a_line(orderid: str = "o1", sku: str = "A", qty: int = 1) -> order_lines.OrderLine:
    return order_lines.OrderLine("line-1", orderid, sku, qty)


def test_the_file_has_ten_thousand_lines_as_they_were_in_the_shop() -> None:
    lines = order_lines.read()
    assert len({line.id for line in lines}) == 10_000
    assert lines[0] == ("line-00001", "536365", "85123A", 6)
    assert sum(line.qty <= 0 for line in lines) == 130
    assert len({line.content for line in lines}) == 9801
    assert order_lines.read(3) == lines[:3]


def test_lines_and_batches_become_json_lines_with_an_id_each() -> None:
    assert json.loads(a_line(qty=-2).command()) == {
        "type": "Allocate", "id": "line-1", "orderid": "o1", "sku": "A", "qty": -2
    }  # fmt: skip
    batch = order_lines.Batch("b1", "A", 3, None)
    expected = {"type": "CreateBatch", "id": "stock-b1", "ref": "b1", "sku": "A", "qty": 3, "eta": None}
    assert json.loads(batch.command()) == expected
    assert json.loads(batch._replace(eta=TODAY).command()) == expected | {"eta": "2030-01-01"}


def test_what_is_ordered_is_bought_once_however_often_a_line_is_repeated_or_cancelled() -> None:
    stock = order_lines.stock_for([a_line(qty=5), a_line(qty=5), a_line("o2", qty=4), a_line(qty=-3)], today=TODAY)
    assert stock.batches == [
        ("warehouse-A", "A", 5, None),
        ("ship-A", "A", 4 + 4, date(2030, 1, 31)),
    ]
    assert stock.short == frozenset()


def test_each_tenth_sku_is_short_but_known() -> None:
    lines = [a_line(sku=f"S{number:02}", qty=10) for number in range(19)] + [a_line(sku="S19", qty=1)]
    stock = order_lines.stock_for(lines, today=TODAY)
    assert stock.short == {"S09", "S19"}
    bought = Counter[str]()
    for batch in stock.batches:
        bought[batch.sku] += batch.qty
    assert (bought["S08"], bought["S09"], bought["S19"]) == (19, 6, 1)


def test_with_this_stock_only_short_skus_can_run_out() -> None:
    """Fill the batches in the order of the file, the warehouse first: what is not short always fits."""
    lines = order_lines.read()
    stock = order_lines.stock_for(lines, today=TODAY)
    room: dict[str, list[int]] = {}
    for batch in stock.batches:
        room.setdefault(batch.sku, []).append(batch.qty)
    for _, sku, qty in dict.fromkeys(line.content for line in lines if line.qty > 0):
        place = next((place for place, left in enumerate(room[sku]) if left >= qty), None)
        assert place is not None or sku in stock.short
        if place is not None:
            room[sku][place] -= qty
