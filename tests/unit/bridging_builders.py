"""The bridge's parts over fakes, showing only what a test cares about."""

from __future__ import annotations

import contextlib
import threading
from concurrent import futures
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from allocation.adapters.avro import serde as avro
from allocation.service_layer import envelopes, messages, signals, topics
from allocation.service_layer.bridging import inbound, intake, outbound
from tests.fakes import bridging as fakes

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = topics.TopicNames("shop.")
RECORDS = ("CreateBatch", "Allocate", "ChangeBatchQuantity", "LineAllocated", "LineDeallocated", "OutOfStock")


class Runnable(Protocol):
    def run(self, stopping: threading.Event) -> None: ...


def a_serde() -> avro.AvroSerde:
    def lookup(schema_id: int) -> str:
        raise KeyError(schema_id)

    return avro.AvroSerde(ids={name: number for number, name in enumerate(RECORDS, start=1)}, lookup=lookup)


def an_intake() -> intake.Intake:
    wrapping = envelopes.Envelopes(topics=NAMES, serializer=a_serde())
    return intake.Intake(topics=NAMES, envelopes=wrapping, now=lambda: datetime(2026, 1, 2, tzinfo=UTC))


def an_inbound(
    redis: fakes.FakeRedis,
    kafka: fakes.FakeKafka,
    lease: fakes.FakeLease,
    *,
    signals: signals.Signals = signals.SILENT,
) -> inbound.Inbound:
    wrapping = an_intake()
    return inbound.Inbound(
        intake=wrapping,
        subscribe=lambda: redis.subscribe(*wrapping.channels),
        forwarder=fakes.FakeForwarder(kafka),
        lease=lease,
        signals=signals,
    )


def an_outbound(
    topic: fakes.FakeTopic,
    sink: fakes.FakeSink,
    positions: fakes.FakePositions,
    *,
    record_name: str = "LineAllocated",
    signals: signals.Signals = signals.SILENT,
) -> outbound.Outbound:
    return outbound.Outbound(
        route=outbound.Route(reader="redis", topic=NAMES.events[record_name], record_name=record_name),
        open_log=lambda: topic,
        deserializer=a_serde(),
        sink=sink,
        positions=positions,
        signals=signals,
    )


def a_record(
    *,
    orderid: str = "order",
    partition: int = 0,
    headers: messages.Headers = (),
    value: bytes | None = b"",
) -> messages.Record:
    """Return a record of an event `LineAllocated`, or of another value."""
    fields = {"orderid": orderid, "sku": "LAMP", "qty": 3, "batchref": "batch-1"}
    return messages.Record(
        topic=NAMES.line_allocated,
        topic_id="",
        partition=partition,
        offset=-1,
        leader_epoch=0,
        key=b"LAMP",
        value=a_serde().serialize("LineAllocated", fields) if value == b"" else value,
        headers=headers,
        timestamp_ms=0,
    )


@contextlib.contextmanager
def running(job: Runnable) -> Iterator[futures.Future[None]]:
    """Run a job in a thread; when the block is left it is told to stop, and must do so."""
    stopping = threading.Event()
    with futures.ThreadPoolExecutor(1) as pool:
        run = pool.submit(job.run, stopping)
        try:
            yield run
        finally:
            stopping.set()
            futures.wait([run], timeout=fakes.PATIENCE_S)
            assert run.done()
    run.result()
