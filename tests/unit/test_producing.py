from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from allocation.adapters.avro import serde as avro
from allocation.service_layer import envelopes, messages, ports, topics
from allocation.service_layer.operations import producing
from tests import builders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NAMES = topics.TopicNames("shop.")
SERDE = avro.AvroSerde(
    ids={"CreateBatch": 1, "Allocate": 2, "ChangeBatchQuantity": 3}, lookup=dict[int, str]().__getitem__
)

ALLOCATE = {"type": "Allocate", "orderid": "o1", "sku": "LAMP", "qty": 3}
CREATE_BATCH = {"type": "CreateBatch", "ref": "b1", "sku": "LAMP", "qty": 10}
CHANGE = {"type": "ChangeBatchQuantity", "batchref": "b1", "qty": 5}


class At(NamedTuple):
    topic: str
    partition: int
    offset: int


class Producer:
    """Has everything acknowledged at once."""

    def __init__(self) -> None:
        self.sent: list[messages.OutboxMessage] = []

    def send(self, message: messages.OutboxMessage, *, timeout_s: float) -> At:
        assert timeout_s > 0
        self.sent.append(message)
        return At(message.topic, 0, len(self.sent) - 1)

    def send_all(
        self, outgoing: Iterable[messages.OutboxMessage], *, on_delivery: Callable[[ports.Coordinates], None]
    ) -> int:
        for message in outgoing:
            on_delivery(self.send(message, timeout_s=1))
        return len(self.sent)


@pytest.fixture
def producer() -> Producer:
    return Producer()


@pytest.fixture
def sender(producer: Producer) -> producing.Sender:
    return producing.Sender(
        producer=producer,
        envelopes=envelopes.Envelopes(topics=NAMES, serializer=SERDE),
        now=lambda: builders.NOW,
        new_id=lambda: "a new id",
    )


def a_line(fields: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**fields, **changes}).encode() + b"\n"


def wrapped(sender: producing.Sender, fields: dict[str, Any], **changes: Any) -> messages.OutboxMessage:
    return sender.wrap(producing.parse(a_line(fields, **changes)))


def value_of(message: messages.OutboxMessage) -> object:
    record_name = {topic: name for name, topic in NAMES.commands.items()}[message.topic]
    return SERDE.deserialize(record_name, message.value or b"")


@pytest.mark.parametrize(
    ("fields", "topic", "value"),
    [
        (ALLOCATE, "shop.allocate", {"orderid": "o1", "sku": "LAMP", "qty": 3}),
        (CREATE_BATCH, "shop.create_batch", {"ref": "b1", "sku": "LAMP", "qty": 10, "eta": None}),
        (
            {**CREATE_BATCH, "eta": "2030-01-31"},
            "shop.create_batch",
            {"ref": "b1", "sku": "LAMP", "qty": 10, "eta": datetime.date(2030, 1, 31)},
        ),
        (
            {**CHANGE, "sku": "LAMP"},
            "shop.change_batch_quantity",
            {"batchref": "b1", "qty": 5, "sku": "LAMP"},
        ),
    ],
)
def test_a_line_of_json_becomes_a_message_keyed_by_its_sku(
    sender: producing.Sender, fields: dict[str, Any], topic: str, value: object
) -> None:
    message = wrapped(sender, fields)
    assert message.topic == topic
    assert message.key == b"LAMP"
    assert value_of(message) == value


def test_a_change_whose_sku_is_unknown_is_keyed_by_its_batch(sender: producing.Sender) -> None:
    assert wrapped(sender, CHANGE).key == b"b1"


def test_a_command_without_an_id_gets_a_new_one(sender: producing.Sender) -> None:
    assert (messages.CE_ID, b"a new id") in wrapped(sender, ALLOCATE).headers
    assert (messages.CE_ID, b"mine") in wrapped(sender, ALLOCATE, id="mine").headers
    assert (messages.CE_SOURCE, b"allocation/cli") in wrapped(sender, ALLOCATE).headers


@pytest.mark.parametrize(
    "changes", [{"qty": 0}, {"qty": -3}, {"sku": ""}, {"orderid": ""}, {"sku": "x" * 300}, {"sku": "a\0b"}]
)
def test_what_the_service_will_refuse_goes_out_as_it_is(sender: producing.Sender, changes: dict[str, Any]) -> None:
    message = wrapped(sender, ALLOCATE, **changes)
    assert value_of(message) == {"orderid": "o1", "sku": "LAMP", "qty": 3, **changes}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"nonsense", "it is no JSON"),
        (b'"\xff"', "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"[1, 2]", "it is no JSON object"),
        (a_line({}), "type is None; it must be one of CreateBatch, Allocate, ChangeBatchQuantity"),
        (a_line(ALLOCATE, type=[]), "type is []"),
        (a_line(ALLOCATE, type="allocate"), "type is 'allocate'"),
        (a_line(ALLOCATE, id=7), "id is 7; it must be a string"),
        (a_line(ALLOCATE, sku=None), "sku is None; it must be a string"),
        (a_line(ALLOCATE, orderid=5), "orderid is 5; it must be a string"),
        (a_line(ALLOCATE, sku="\ud800"), "sku is '\\ud800', which holds a lone surrogate"),
        (a_line(ALLOCATE, qty="3"), "qty is '3'; it must be a whole number"),
        (a_line(ALLOCATE, qty=3.0), "qty is 3.0; it must be a whole number"),
        (a_line(ALLOCATE, qty=True), "qty is True; it must be a whole number"),
        (a_line(ALLOCATE, qty=2**31), "qty is 2147483648; it must be a whole number"),
        (a_line({"type": "Allocate", "sku": "LAMP"}), "Allocate lacks orderid, qty; its fields are orderid, sku, qty"),
        (a_line(ALLOCATE, quantity=3), "Allocate has no field quantity; its fields are"),
        (a_line(CREATE_BATCH, eta="tomorrow"), "eta is 'tomorrow'; it must be a day such as"),
        (a_line(CREATE_BATCH, eta=20300131), "eta is 20300131; it must be a day such as"),
    ],
)
def test_what_its_schema_cannot_hold_is_refused_by_name(sender: producing.Sender, line: bytes, told: str) -> None:
    with pytest.raises(producing.Unsendable) as refused:
        sender.wrap(producing.parse(line))
    assert told in str(refused.value)


def test_lines_are_sent_in_their_order_and_empty_ones_are_skipped(sender: producing.Sender, producer: Producer) -> None:
    lines = [a_line(CREATE_BATCH), b"\n", a_line(ALLOCATE), b"  \n", a_line(CHANGE)]
    acknowledged: list[ports.Coordinates] = []
    assert sender.send_lines(lines, on_unsendable=never, on_delivery=acknowledged.append) == 3
    assert [message.topic for message in producer.sent] == [at.topic for at in acknowledged]
    assert [at.topic for at in acknowledged] == ["shop.create_batch", "shop.allocate", "shop.change_batch_quantity"]


def test_nothing_behind_a_bad_line_is_sent_or_even_read(sender: producing.Sender, producer: Producer) -> None:
    told: list[str] = []
    lines = iter([a_line(ALLOCATE), b"nonsense\n", a_line(CREATE_BATCH)])

    def stop(number: int, error: producing.Unsendable) -> bool:
        told.append(f"line {number}: {error}")
        return False

    sender.send_lines(lines, on_unsendable=stop)
    assert len(producer.sent) == 1
    assert told[0].startswith("line 2: it is no JSON")
    assert next(lines) == a_line(CREATE_BATCH)


def test_bad_lines_are_passed_over_on_request(sender: producing.Sender, producer: Producer) -> None:
    numbers: list[int] = []

    def go_on(number: int, _error: producing.Unsendable) -> bool:
        numbers.append(number)
        return True

    sender.send_lines([b"x\n", a_line(ALLOCATE), b"y\n", a_line(CHANGE)], on_unsendable=go_on)
    assert numbers == [1, 3]
    assert len(producer.sent) == 2


def never(number: int, error: producing.Unsendable) -> bool:
    pytest.fail(f"line {number}: {error}")
