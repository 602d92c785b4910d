"""Values for tests: each builder shows only what matters to the test that calls it."""

from __future__ import annotations

import datetime
import itertools
from typing import TYPE_CHECKING

from allocation.domain import commands, model
from allocation.service_layer import journaling, messages, reading, reporting

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC)
TODAY = datetime.date(2030, 1, 1)
TOMORROW = TODAY + datetime.timedelta(days=1)
LATER = TODAY + datetime.timedelta(days=30)

_numbers = itertools.count(1)


def a_line(*, qty: int = 1, sku: str = "LAMP", orderid: str | None = None) -> model.OrderLine:
    return model.OrderLine(orderid or f"order-{next(_numbers)}", sku, qty)


def a_batch(
    ref: str | None = None,
    *,
    qty: int = 100,
    eta: datetime.date | None = None,
    sku: str = "LAMP",
    lines: Iterable[model.OrderLine] = (),
) -> model.Batch:
    batch = model.Batch(ref or f"batch-{next(_numbers)}", sku, qty, eta)
    for line in lines:
        batch.allocate(line)
    return batch


def a_product(*batches: model.Batch, sku: str = "LAMP") -> model.Product:
    return model.Product(sku, batches)


def an_allocate(*, sku: str = "LAMP", qty: int = 1, orderid: str | None = None) -> commands.Allocate:
    return commands.Allocate(orderid or f"order-{next(_numbers)}", sku, qty)


def a_record(
    value: bytes | None = b"value",
    *,
    topic: str = "allocate",
    partition: int = 0,
    offset: int | None = None,
    key: bytes | None = b"LAMP",
    headers: messages.Headers = (),
    topic_id: str | None = None,
) -> messages.Record:
    return messages.Record(
        topic=topic,
        topic_id=topic_id or f"id of {topic}",
        partition=partition,
        offset=next(_numbers) if offset is None else offset,
        leader_epoch=0,
        key=key,
        value=value,
        headers=headers,
        timestamp_ms=1_893_499_200_000,
    )


_TOPICS = {
    commands.CreateBatch: "create_batch",
    commands.Allocate: "allocate",
    commands.ChangeBatchQuantity: "change_batch_quantity",
}


def a_message(
    command: commands.Command | messages.Unreadable,
    *,
    id: str | None = None,  # noqa: A002 - CloudEvents' word
    source: str = "test",
    attempt: int = 1,
    waits: bool = True,
    record: messages.Record | None = None,
) -> messages.Message:
    """A message as `MessageReader` would make it; its content is the command's text."""
    if record is None:
        topic = "allocate" if isinstance(command, messages.Unreadable) else _TOPICS[type(command)]
        record = a_record(f"12345{command}".encode(), topic=topic)
    return messages.Message(
        record=record,
        id=messages.MessageId(source, id or f"message-{next(_numbers)}"),
        attempt=attempt,
        digest=reading.digest(record.topic, record.value),
        command=command,
        waits=waits,
    )


def a_report(*, topic: str = "allocate", events: int = 0, repeated: int = 0, **outcomes: int) -> reporting.Report:
    """Of messages of one topic."""
    fates = {journaling.Fate(topic, what): count for what, count in outcomes.items()}
    announced = {reporting.Announced("LineAllocated", "Allocate"): events}
    return reporting.Report(fates, announced if events else {}, {topic: repeated} if repeated else {})
