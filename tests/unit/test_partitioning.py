from __future__ import annotations

import hypothesis
from hypothesis import strategies

from allocation.service_layer import partitioning
from tests import murmur2


@hypothesis.given(key=strategies.binary(max_size=40), partitions=strategies.integers(1, 100))
def test_a_key_lies_where_javas_producer_puts_it(key: bytes, partitions: int) -> None:
    assert partitioning.partition_of(key, partitions=partitions) == murmur2.partition(key, partitions)
