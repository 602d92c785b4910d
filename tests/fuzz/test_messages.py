"""Whatever lies on the command topics: each message is handled or a dead letter, once, and harms no other."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import hypothesis
from hypothesis import strategies as st

from tests import avro_values
from tests.fuzz import rig as rigs
from tests.fuzz import strategies

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FUZZ = hypothesis.settings.get_profile("fuzz")
BATCH = 200
COMMANDS = ("CreateBatch", "Allocate", "ChangeBatchQuantity")


def mutants(original: bytes, replacements: Iterable[int]) -> Iterator[bytes]:
    """Yield every value that differs from a valid one in one byte, lacks one, or has one more."""
    for at in range(len(original)):
        yield original[:at]
        yield original[:at] + original[at + 1 :]
        for byte in replacements:
            yield original[:at] + bytes([byte]) + original[at:]
            yield original[:at] + bytes([byte]) + original[at + 1 :]
        for bit in range(8):
            yield original[:at] + bytes([original[at] ^ (1 << bit)]) + original[at + 1 :]
    yield original + b"\0"


def in_batches(drafts: Iterable[rigs.Draft]) -> Iterator[list[rigs.Draft]]:
    source = iter(drafts)
    while batch := list(itertools.islice(source, BATCH)):
        yield batch


def test_every_value_that_is_one_byte_off_is_settled_once(rig: rigs.Rig, is_long: bool) -> None:  # noqa: FBT001
    replacements = range(256) if is_long else (0x00, 0x02, 0x7F, 0x80, 0xFF)
    for name in COMMANDS:
        original = rigs.value(name, avro_values.SAMPLES[name])
        topic = rigs.NAMES.commands[name]
        for batch in in_batches(rigs.Draft(topic, one) for one in mutants(original, replacements)):
            rig.run(rigs.among_neighbours(batch))
    assert {"undecodable", "unknown_schema", "wrong_record", "invalid", "invalid_sku", "handled"} <= rig.reasons.keys()


@hypothesis.settings(FUZZ)
@hypothesis.given(batch=st.lists(strategies.drafts, min_size=1, max_size=25), with_grace=st.booleans())
def test_any_value_key_and_headers_are_settled_once(
    rig: rigs.Rig,
    batch: list[rigs.Draft],
    with_grace: bool,  # noqa: FBT001 - by name
) -> None:
    rig.run(rigs.among_neighbours(batch), with_grace=with_grace)


@hypothesis.settings(FUZZ)
@hypothesis.given(batch=st.lists(strategies.commands, min_size=1, max_size=25), with_grace=st.booleans())
def test_well_formed_commands_with_values_near_the_limits_are_settled_once(
    rig: rigs.Rig,
    batch: list[rigs.Draft],
    with_grace: bool,  # noqa: FBT001 - by name
) -> None:
    rig.run(rigs.among_neighbours(batch), with_grace=with_grace)
