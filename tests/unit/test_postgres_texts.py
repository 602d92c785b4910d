"""What is given to the database as text, in bulk, means what it would one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from allocation.adapters.postgres import arrays, headers

_HEADERS = st.lists(st.tuples(st.text(), st.none() | st.binary(max_size=20)), max_size=4).map(tuple)
_PLAIN = st.lists(st.tuples(st.just("ce_id"), st.just(b"an id")), max_size=2).map(tuple)


@given(st.lists(_HEADERS | _PLAIN, max_size=5))
def test_headers_of_many_messages_are_stored_as_those_of_each(many: list[tuple[tuple[str, bytes | None], ...]]) -> None:
    assert list(headers.dump_all(many)) == [headers.dump(one) for one in many]


@given(st.lists(_PLAIN, max_size=5))
def test_plain_headers_too(many: list[tuple[tuple[str, bytes | None], ...]]) -> None:
    assert list(headers.dump_all(many)) == [headers.dump(one) for one in many]


def test_an_array_holds_what_has_a_meaning_in_arrays() -> None:
    assert arrays.texts(['a"b', "c\\d", "e,f", "{}", "", "NULL"]) == r'{"a\"b","c\\d","e,f","{}","","NULL"}'
    assert arrays.texts([]) == arrays.numbers([]) == "{}"
    assert arrays.numbers([1, -2]) == "{1,-2}"
