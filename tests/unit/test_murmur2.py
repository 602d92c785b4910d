"""The oracle itself, against the values in Kafka's own `UtilsTest.testMurmur2`."""

from __future__ import annotations

import pytest

from tests import murmur2

JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", JAVA)
def test_hashes_are_those_of_java(key: bytes) -> None:
    assert murmur2.murmur2(key) == JAVA[key] % 2**32


@pytest.mark.parametrize(("key", "expected"), [(b"21", 0), (b"foobar", 0), (b"abc", 3)])
def test_a_partition_is_the_positive_part_of_the_hash_modulo_their_number(key: bytes, expected: int) -> None:
    assert murmur2.partition(key, 6) == expected == (JAVA[key] & 0x7FFFFFFF) % 6
