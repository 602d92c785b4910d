"""Java's partitioner, written again from Kafka's `Utils.murmur2`: an oracle that shares no code with the client."""

from __future__ import annotations

_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C
_32_BITS = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit hash of a key, unsigned."""
    value = _SEED ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        value = _multiplied(value) ^ _multiplied(_mixed(_multiplied(int.from_bytes(data[at : at + 4], "little")), 24))
    if rest := data[whole:]:
        value = _multiplied(value ^ int.from_bytes(rest, "little"))
    return _mixed(_multiplied(_mixed(value, 13)), 15)


def partition(key: bytes, partitions: int) -> int:
    """Return the partition that Java's producer picks for a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def _multiplied(value: int) -> int:
    return value * _MULTIPLIER & _32_BITS


def _mixed(value: int, bits: int) -> int:
    return value ^ value >> bits
