from collections.abc import Callable

import pytest

from allocation.domain import commands, refusal

LONGEST = "é" * 127 + "x"


@pytest.mark.parametrize("qty", [1, 2**31 - 1])
def test_a_quantity_may_be_anything_that_an_avro_int_holds(qty: int) -> None:
    assert commands.Allocate("o1", "LAMP", qty).qty == qty


@pytest.mark.parametrize("qty", [0, -3, 2**31])
def test_an_impossible_quantity_is_refused_by_its_value(qty: int) -> None:
    with pytest.raises(refusal.Invalid, match=f"qty is {qty}; it must be a whole number from 1"):
        commands.Allocate("o1", "LAMP", qty)
    with pytest.raises(refusal.Invalid, match=f"qty is {qty}; it must be a whole number from 1"):
        commands.CreateBatch("b1", "LAMP", qty)


def test_a_batch_may_be_changed_to_nothing_but_not_below() -> None:
    assert commands.ChangeBatchQuantity("b1", 0).qty == 0
    with pytest.raises(refusal.Invalid, match="qty is -1; it must be a whole number from 0"):
        commands.ChangeBatchQuantity("b1", -1)


FIELDS: list[tuple[str, Callable[[str], commands.Command]]] = [
    ("orderid", lambda value: commands.Allocate(value, "LAMP", 1)),
    ("sku", lambda value: commands.Allocate("o1", value, 1)),
    ("ref", lambda value: commands.CreateBatch(value, "LAMP", 1)),
    ("sku", lambda value: commands.CreateBatch("b1", value, 1)),
    ("batchref", lambda value: commands.ChangeBatchQuantity(value, 1)),
    ("sku", lambda value: commands.ChangeBatchQuantity("b1", 1, value)),
]


@pytest.mark.parametrize(("field", "make"), FIELDS)
@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "is empty"),
        ("a\0b", r"'a\\x00b' holds a NUL character"),
        ("\ud800", "holds a lone surrogate"),
        (LONGEST + "x", "is 256 bytes long; at most 255 bytes of UTF-8"),
        ("x" * 1_000_000, "is 1000000 bytes long"),
    ],
)
def test_an_impossible_id_is_refused_by_field_and_value(
    field: str, make: Callable[[str], commands.Command], value: str, problem: str
) -> None:
    with pytest.raises(refusal.Invalid, match=f"^{field} .*{problem}"):
        make(value)


@pytest.mark.parametrize(("field", "make"), FIELDS)
@pytest.mark.parametrize("value", [LONGEST, "x" * 255, "\U0001f411", " ", "a\tb\n", "\\.", "\\N"])
def test_an_id_may_be_any_other_text(field: str, make: Callable[[str], commands.Command], value: str) -> None:
    assert getattr(make(value), "ref" if field == "batchref" else field) == value
