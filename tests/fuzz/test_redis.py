"""Whatever is published on the Redis channels becomes a command that the worker can take, or a dead letter."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from allocation.adapters.kafka import clients
from allocation.service_layer import envelopes, messages, reading, topics
from allocation.service_layer.bridging import intake, ports
from tests import avro_values, builders
from tests.fuzz import strategies

FUZZ = hypothesis.settings.get_profile("fuzz")
MANY = hypothesis.settings(FUZZ, max_examples=FUZZ.max_examples * 10)
NAMES = topics.TopicNames()
CHANNELS = (NAMES.allocate, NAMES.change_batch_quantity)
# The topic takes so much for a dead letter.
LARGEST = clients.MAX_DEAD_LETTER_BYTES

texts = strategies.ids | st.sampled_from(("\ud800", "a\udfffb"))
odd_values = st.one_of(
    texts, st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers(), max_size=2),
    st.sampled_from((10**4299, -1, 0, 2**31, 2**63, 1.0, 1e308, float("nan"), float("-inf"))),
)  # fmt: skip
objects = st.dictionaries(st.sampled_from(("orderid", "sku", "qty", "batchref", "eta", "\0")), odd_values)
lines = st.fixed_dictionaries({"orderid": texts, "sku": texts, "qty": strategies.quantities})
changes = st.fixed_dictionaries({"batchref": texts, "qty": strategies.quantities})
encodings = st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "utf-32-be"))


@st.composite
def texts_of_json(draw: st.DrawFn) -> bytes:
    content = draw(st.one_of(lines, changes, objects, odd_values))
    is_ascii = draw(st.booleans())
    return json.dumps(content, ensure_ascii=is_ascii).encode(draw(encodings), errors="surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    changed = bytearray(draw(texts_of_json()))
    at = draw(st.integers(0, len(changed)))
    changed[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(changed)


HUGE = (
    b"", b"{", b"[" * 100_000, b'{"qty":' * 50_000, b'"' + b"x" * 2_000_000 + b'"', b"\xff" * 2_000_000,
    b"1" * 5000, b"-" + b"9" * 4300, b"1e999999", b'{"sku":1,"sku":"LAMP","orderid":"o","qty":1}', b"NaN",
    json.dumps({"orderid": "x" * 2_000_000, "sku": "LAMP", "qty": 1}).encode(),
    json.dumps({"orderid": "o", "sku": "LAMP", "qty": "9" * 2_000_000}).encode(),
)  # fmt: skip


def wrap(channel: str, payload: bytes) -> tuple[messages.OutboxMessage, messages.Unreadable | None]:
    wrapping = envelopes.Envelopes(topics=NAMES, serializer=avro_values.a_serde())
    return intake.Intake(topics=NAMES, envelopes=wrapping).wrap(ports.Published(channel, payload))


def check(channel: str, payload: bytes) -> None:
    outgoing, problem = wrap(channel, payload)
    added: dict[str, Any] = dict(outgoing.headers)
    size = sum(len(name) + len(value or b"") + 10 for name, value in outgoing.headers)
    assert size + len(outgoing.key or b"") + len(outgoing.value or b"") < LARGEST
    if problem is None:
        record = builders.a_record(outgoing.value, topic=outgoing.topic, headers=outgoing.headers)
        message = reading.MessageReader(topics=NAMES, deserializer=avro_values.a_serde()).read(record)
        assert not isinstance(message.command, messages.Unreadable), message.command
        assert outgoing.topic == channel
    else:
        assert added["dead_letter_reason"].decode() in ("undecodable", "invalid")
        assert added["dead_letter_error"]
        assert (outgoing.topic, added["dead_letter_topic"]) == (NAMES.dead_letter, f"redis:{channel}".encode())
        assert outgoing.value is not None
        assert payload.startswith(outgoing.value)
        assert len(payload) == len(outgoing.value) or b"are kept" in added["dead_letter_error"]


@hypothesis.settings(MANY)
@hypothesis.given(st.sampled_from(CHANNELS), texts_of_json())
def test_any_json_is_a_command_or_a_dead_letter(channel: str, payload: bytes) -> None:
    check(channel, payload)


@hypothesis.settings(MANY)
@hypothesis.given(st.sampled_from(CHANNELS), damaged() | st.binary(max_size=50))
def test_any_bytes_are_a_command_or_a_dead_letter(channel: str, payload: bytes) -> None:
    check(channel, payload)


@pytest.mark.parametrize("payload", HUGE, ids=range(len(HUGE)))
def test_the_hugest_payloads_are_dead_letters(payload: bytes) -> None:
    for channel in CHANNELS:
        check(channel, payload)
