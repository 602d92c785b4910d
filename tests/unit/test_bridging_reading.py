import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocation.domain import commands
from allocation.service_layer import messages
from allocation.service_layer.bridging import reading


def test_a_message_on_allocate_is_a_command() -> None:
    assert reading.read("Allocate", b'{"orderid": "o1", "sku": "LAMP", "qty": 3}') == commands.Allocate("o1", "LAMP", 3)


def test_a_message_on_change_batch_quantity_is_a_command() -> None:
    found = reading.read("ChangeBatchQuantity", b'{"batchref": "b1", "qty": 0}')

    assert found == commands.ChangeBatchQuantity("b1", 0)


def test_white_space_and_unknown_keys_are_ignored() -> None:
    payload = b' \n{"qty" : 3,\t"sku":"LAMP", "orderid":"o1", "eta": null, "more": {"x": [1]}} \n'

    assert reading.read("Allocate", payload) == commands.Allocate("o1", "LAMP", 3)


@pytest.mark.parametrize(
    "payload",
    [b"", b"not json", b'{"orderid": ', b"\xff\xfe\x00", b"{'a': 1}", b"[" * 100_000, b"9" * 5000],
    ids=["empty", "words", "cut off", "no text", "single quotes", "too deep", "too long a number"],
)
def test_what_is_no_json_is_undecodable(payload: bytes) -> None:
    found = reading.read("Allocate", payload)

    assert isinstance(found, messages.Unreadable)
    assert found.reason == "undecodable"
    assert len(found.error) < 500


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ([1, 2], "a list is no JSON object; it must be one with the keys orderid, sku, qty"),
        (None, "null is no JSON object; it must be one with the keys orderid, sku, qty"),
        ({"orderid": "o1", "sku": "LAMP"}, "qty is missing; it must be a whole number"),
        ({"orderid": "o1", "sku": "LAMP", "qty": True}, "qty is true; it must be a whole number"),
        ({"orderid": "o1", "sku": "LAMP", "qty": 3.0}, "qty is 3.0; it must be a whole number"),
        ({"orderid": "o1", "sku": "LAMP", "qty": "3"}, 'qty is "3"; it must be a whole number'),
        ({"orderid": "o1", "sku": "LAMP", "qty": None}, "qty is null; it must be a whole number"),
        ({"orderid": 17, "sku": "LAMP", "qty": 3}, "orderid is 17; it must be text"),
        ({"orderid": "o1", "sku": {"id": 1}, "qty": 3}, "sku is an object; it must be text"),
        ({"orderid": "o1", "sku": "", "qty": 3}, "sku is empty; it must name something"),
        ({"orderid": "o1", "sku": "LAMP", "qty": 0}, "qty is 0; it must be a whole number from 1 to 2147483647"),
        ({"orderid": "o1", "sku": "LAMP", "qty": -3}, "qty is -3; it must be a whole number from 1 to 2147483647"),
        (
            {"orderid": "o1", "sku": "LAMP", "qty": 2**31},
            f"qty is {2**31}; it must be a whole number from 1 to 2147483647",
        ),
    ],
)
def test_wrong_fields_are_named(fields: object, error: str) -> None:
    assert reading.read("Allocate", json.dumps(fields).encode()) == messages.Unreadable("invalid", error)


def test_a_long_wrong_value_is_quoted_in_part() -> None:
    found = reading.read("Allocate", json.dumps({"orderid": "o", "sku": "s", "qty": "x" * 10_000}).encode())

    assert isinstance(found, messages.Unreadable)
    assert len(found.error) < 200


@given(
    st.binary()
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["orderid", "sku", "qty", "x"]), inner),
    ).map(lambda value: json.dumps(value).encode())
)
def test_anything_is_a_command_or_says_why_not(payload: bytes) -> None:
    found = reading.read("Allocate", payload)

    assert isinstance(found, commands.Allocate | messages.Unreadable)
