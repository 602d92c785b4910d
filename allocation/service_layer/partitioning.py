"""In which partition a key lies: Java's default partitioner, for who reads and does not produce.

Source: Apache Kafka, `org.apache.kafka.common.utils.Utils.murmur2`.
"""

from __future__ import annotations

_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C
_32_BITS = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF


def partition_of(key: bytes, *, partitions: int) -> int:
    """Return the partition of a key among so many."""
    return (_murmur2(key) & _POSITIVE) % partitions


def _murmur2(data: bytes) -> int:
    value = _SEED ^ len(data)
    whole = len(data) - len(data) % 4
    for at in range(0, whole, 4):
        word = _times(int.from_bytes(data[at : at + 4], "little"))
        value = _times(value) ^ _times(word ^ word >> 24)
    if len(data) > whole:
        value = _times(value ^ int.from_bytes(data[whole:], "little"))
    value = _times(value ^ value >> 13)
    return value ^ value >> 15


def _times(value: int) -> int:
    return value * _MULTIPLIER & _32_BITS
