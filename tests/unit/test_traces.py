from __future__ import annotations

import pytest

from allocation.adapters.postgres import headers as outbox_headers
from allocation.service_layer import messages, traces
from tests import builders

SPAN = "b7ad6b7169203331"


def a_header(number: int, *, flags: str = "01") -> tuple[str, bytes]:
    return messages.TRACEPARENT, f"00-{number:032x}-{SPAN}-{flags}".encode()


def told(*messages_: messages.Headers) -> list[str]:
    """Return what is told of commands with these headers, which is what is told of rows with them."""
    of_records = traces.of_records([builders.a_record(headers=one) for one in messages_])
    assert traces.of_rows([(1, "t", None, b"", b"", outbox_headers.dump(one)) for one in messages_]) == of_records
    return list(of_records)


def ids(*numbers: int) -> list[str]:
    return [f"{number:032x}" for number in numbers]


def test_each_trace_is_told_once_in_the_order_of_the_messages() -> None:
    assert told((a_header(2),), (), (a_header(1),), (a_header(2),)) == ids(2, 1)


def test_no_more_are_told_than_a_line_holds() -> None:
    many = [(a_header(number),) for number in range(1, traces.MAX_TOLD + 5)]
    assert told(*many) == ids(*range(1, traces.MAX_TOLD + 1))


def test_only_the_first_messages_are_looked_at() -> None:
    assert told(*[()] * (traces.MAX_LOOKED_AT - 1), (a_header(1),), (a_header(2),)) == ids(1)


def test_where_the_header_stands_does_not_matter() -> None:
    around = ("other", b"1")
    assert told((a_header(1), around), (around, a_header(2))) == ids(1, 2)


@pytest.mark.parametrize("flags", ["01", "03", "ff", "01-of a later version"])
def test_what_its_sender_keeps_is_told(flags: str) -> None:
    assert told((a_header(1, flags=flags),)) == ids(1)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff" * 60,
        b"00-x",
        b"1" * 55,
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        a_header(1, flags="00")[1],
    ],
)
def test_what_is_no_trace_or_is_not_kept_is_not_told(value: bytes | None) -> None:
    assert told(((messages.TRACEPARENT, value),)) == []


def test_a_value_that_looks_like_the_header_is_none() -> None:
    forged = f'["{messages.TRACEPARENT}", "00-{1:032x}-{SPAN}-01"]'.encode()
    assert told((("note", forged),)) == []
