"""What a hostile or careless sender may come up with."""

from __future__ import annotations

import datetime
from typing import Any

from hypothesis import strategies as st

from tests import avro_values
from tests.fuzz import rig

# What COPY, SQL, JSON, logs and terminals treat in a way of their own, and what UTF-8 makes long.
AWKWARD = (
    "\\", "\\.", "\\N", "\\x00", "\\n", "\t", "\n", "\r", "\r\n", "\v", "\f", "\x1a", "\x1b[2J", "\x7f", "\x85",
    "\u2028", "\u202e", "\ufeff", "\ufffe", "\uffff", "\U0001f6cb", "\U0010ffff", "e\u0301", "'", '"', "$1", "%s", "{}",
    "'; DROP TABLE batches; --", "NULL", "null", ",", " ", "/", "..", "sku:", "ref:", rig.SAFE_SKU, "safe-batch",
)  # fmt: skip
IMPOSSIBLE = ("", "\0", "LAMP\0", "x" * 256, "é" * 128, "\U0001f6cb" * 64)
LONGEST = ("x" * 255, "é" * 127, "\U0001f6cb" * 63 + "xxx", "\\" * 255, "\t" * 255)

awkward_ids = st.lists(st.sampled_from(AWKWARD), min_size=1, max_size=4).map("".join)
ids = st.one_of(
    awkward_ids,
    st.sampled_from(IMPOSSIBLE + LONGEST),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.sampled_from(("LAMP", "b1", "o1")),
)
quantities = st.one_of(
    st.sampled_from((-(2**31), -1, 0, 1, 2**31 - 2, 2**31 - 1)), st.integers(-(2**31), 2**31 - 1), st.integers(1, 9)
)
dates = st.one_of(
    st.none(),
    st.sampled_from((datetime.date.min, datetime.date.max, datetime.date(1970, 1, 1), datetime.date(1582, 10, 10))),
    st.dates(),
)
fields: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "CreateBatch": st.fixed_dictionaries({"ref": ids, "sku": ids, "qty": quantities, "eta": dates}),
    "Allocate": st.fixed_dictionaries({"orderid": ids, "sku": ids, "qty": quantities}),
    "ChangeBatchQuantity": st.fixed_dictionaries({"batchref": ids, "qty": quantities, "sku": st.none() | ids}),
}
record_names = st.sampled_from(sorted(fields))
written = record_names.flatmap(lambda name: fields[name].map(lambda given: rig.value(name, given)))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid value with bytes changed, removed, inserted, or cut off."""
    changed = bytearray(draw(written))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(changed)))
        removed = draw(st.sampled_from((0, 1, 2, 1000)))
        changed[at : at + removed] = draw(st.binary(max_size=3) | st.sampled_from((b"\xff" * 10, b"\x80" * 9, b"\0")))
    return bytes(changed)


@st.composite
def with_any_schema_id(draw: st.DrawFn) -> bytes:
    """A valid body behind the id of another schema, of none, of one that others have registered."""
    known = st.sampled_from((*avro_values.IDS.values(), *range(avro_values.OTHERS_ID, avro_values.OTHERS_ID + 20)))
    number = draw(known | st.sampled_from((0, 2**31 - 1, 2**31, 2**32 - 1)) | st.integers(0, 2**32 - 1))
    return b"\0" + number.to_bytes(4, "big") + draw(written | st.binary(max_size=40))[5:]


values = st.one_of(st.none(), st.binary(max_size=40), written, written, damaged(), with_any_schema_id())
keys = st.one_of(st.none(), st.just(b""), st.binary(max_size=20), st.sampled_from((b"\0" * 5, b"x" * 1_000_000)))

_names = st.sampled_from(
    (
        "ce_id", "ce_id", "ce_source", "ce_type", "ce_time", "ce_specversion", "content-type", "traceparent",
        "allocation_attempt", "allocation_no_grace", "dead_letter_reason", "dead_letter_offset", "dead_letter_topic",
        "", "\U0001f6cb", "x" * 300, "\\.", "CE_ID", "allocation_resent", "allocation_unreadable_headers",
    )
)  # fmt: skip
_texts = st.one_of(
    st.none(),
    st.binary(max_size=30),
    st.sampled_from(
        (
            b"", b"1", b"2", b"m1", b"m2", b"0", b"-1", b"999999999", b"1000000000", b"\0", b"\xff\xfe", b"x" * 255,
            b"x" * 256, b"\xff" * 255, b"\\" * 255, "²".encode(), "\U0001f6cb".encode(), b"\xed\xa0\x80", b"\n",
            b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01", b"00-" + b"a" * 32 + b"-" + b"1" * 16 + b"-01\n",
            b"ff-" + b"a" * 32 + b"-" + b"1" * 16 + b"-01", b"x" * 100_000, bytes(range(256)),
        )
    ),
)  # fmt: skip
headers = st.lists(st.tuples(_names, _texts), max_size=6).map(tuple)

drafts = st.builds(rig.Draft, st.sampled_from(rig.TOPICS), values, keys, headers)
plain_drafts = st.builds(rig.Draft, st.sampled_from(rig.TOPICS), values)


def in_their_topics(given: st.SearchStrategy[tuple[str, dict[str, Any]]]) -> st.SearchStrategy[rig.Draft]:
    """Return commands that are well-formed, each on its own topic."""
    return given.map(lambda one: rig.Draft(rig.NAMES.commands[one[0]], rig.value(*one)))


commands = in_their_topics(record_names.flatmap(lambda name: st.tuples(st.just(name), fields[name])))
