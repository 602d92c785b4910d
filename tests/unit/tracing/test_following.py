"""Spans that different parts make of what they know fit together to one trace."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import export, sampling
from opentelemetry.sdk.trace.export import in_memory_span_exporter

from allocation.adapters.opentelemetry import following, spans
from allocation.adapters.postgres import headers as outbox_headers
from allocation.service_layer import (
    envelopes,
    external_events,
    failures,
    messages,
    reading,
    refusals,
    reporting,
    topics,
)
from tests import builders
from tests.fakes import serde

if TYPE_CHECKING:
    from allocation.service_layer.relaying import ports as relaying

TRACE, SENDER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NAMES = topics.TopicNames("")
WRAPPING = envelopes.Envelopes(topics=NAMES, serializer=serde.FakeSerde())


class World:
    """A worker, a relay and a bridge whose spans are kept."""

    def __init__(self, sampler: sampling.Sampler | None = None) -> None:
        self._kept = in_memory_span_exporter.InMemorySpanExporter()
        ids = spans.GivenIds()
        provider = sdk.TracerProvider(sampler=sampler, id_generator=ids, shutdown_on_exit=False)
        provider.add_span_processor(export.SimpleSpanProcessor(self._kept))
        made = spans.Spans(provider, ids, scope="test")
        self.worker = following.WorkerSpans(made, group="a-group")
        self.relay = following.RelaySpans(made, event_topics=NAMES.events.values())
        self.bridge = following.BridgeSpans(made)

    @property
    def names(self) -> list[str]:
        return [span.name for span in self._kept.get_finished_spans()]

    def span(self, name: str) -> sdk.ReadableSpan:
        (found,) = (span for span in self._kept.get_finished_spans() if span.name == name)
        return found

    def all_ids(self, name: str) -> list[str]:
        found = (span.context for span in self._kept.get_finished_spans() if span.name == name)
        return [f"{context.span_id:016x}" for context in found if context is not None]

    def ids(self, name: str) -> tuple[str, str, str]:
        """Return trace, span and parent."""
        span = self.span(name)
        assert span.context is not None
        parent = f"{span.parent.span_id:016x}" if span.parent else ""
        return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


@pytest.fixture
def world() -> World:
    return World()


def a_command(*, traced: bool = True, flags: str = "01", attempt: int = 1) -> messages.Record:
    headers = [(messages.CE_ID, b"c1"), (messages.CE_SOURCE, b"shop"), (messages.ATTEMPT, b"%d" % attempt)]
    if traced:
        headers.append((messages.TRACEPARENT, f"00-{TRACE}-{SENDER}-{flags}".encode()))
    return builders.a_record(topic="allocate", partition=2, offset=7, headers=tuple(headers))


def a_message(record: messages.Record) -> messages.Message:
    identity, attempt, _ = reading.identity(record, dict(record.headers))
    return builders.a_message(
        builders.an_allocate(), id=identity.id, source=identity.source, attempt=attempt, record=record
    )


def an_event(record: messages.Record) -> messages.OutboxMessage:
    cause = envelopes.Cause(message=a_message(record), time=builders.NOW)
    allocated = external_events.LineAllocated("o1", "LAMP", 1, "b1")
    return WRAPPING.event(allocated, cause=cause, ordinal=0, sequence=1)


def a_dead_letter(record: messages.Record) -> messages.OutboxMessage:
    return WRAPPING.dead_letter(a_message(record), reason="invalid_sku", error="no", time=builders.NOW)


def a_row(message: messages.OutboxMessage, *more: tuple[str, bytes]) -> relaying.Row:
    text = outbox_headers.dump((*message.headers, *more))
    return (1, message.topic, None, message.key, message.value, text)


def a_refusal(record: messages.Record) -> refusals.Refusal:
    return refusals.Refusal(a_message(record), "invalid_sku", "Invalid sku LAMP")


def a_report_of(refusal: refusals.Refusal) -> reporting.Report:
    return reporting.Report(refusals=(refusal,))


@pytest.mark.parametrize("sender", [SENDER, ""])
def test_a_command_is_followed_from_its_sender_to_the_consumers_of_its_event(world: World, sender: str) -> None:
    command = a_command(traced=bool(sender))
    event = an_event(command)
    world.worker.handled([command], [builders.a_report(handled=1)], 0.1)
    world.relay.relayed([a_row(event)], 0.2)
    world.bridge.passed_on("redis", [builders.a_record(topic=event.topic, headers=event.headers)], 0.3)
    trace, process, parent = world.ids("process allocate")
    assert parent == sender
    assert (trace == TRACE) is bool(sender)
    assert world.ids("outbox wait")[::2] == (trace, process)
    assert world.ids("send line_allocated") == (trace, header(event).split("-")[2], process)
    assert world.ids("publish line_allocated")[::2] == (trace, header(event).split("-")[2])


def header(message: messages.OutboxMessage) -> str:
    return (dict(message.headers)[messages.TRACEPARENT] or b"").decode()


def test_spans_have_the_times_of_what_they_tell_of(world: World) -> None:
    command = a_command()
    world.worker.handled([command], [], 0.1)
    world.relay.relayed([a_row(an_event(command))], 0.2)
    process, wait, send = map(world.span, ("process allocate", "outbox wait", "send line_allocated"))
    assert duration_ms(process) == 100
    assert duration_ms(send) == 200
    assert wait.end_time == send.start_time
    assert wait.start_time == wait.end_time  # it is from 2030: clocks differ, and no span ends before it begins


def test_the_wait_in_the_outbox_begins_with_the_event(world: World) -> None:
    earlier = builders.NOW - timedelta(days=20_000)
    allocated = external_events.LineAllocated("o1", "LAMP", 1, "b1")
    cause = envelopes.Cause(message=a_message(a_command()), time=earlier)
    world.relay.relayed([a_row(WRAPPING.event(allocated, cause=cause, ordinal=0, sequence=1))], 0.1)
    assert world.span("outbox wait").start_time == int(earlier.timestamp()) * 10**9


def duration_ms(span: sdk.ReadableSpan) -> int:
    assert span.start_time is not None
    assert span.end_time is not None
    return round((span.end_time - span.start_time) / 1e6)


def test_attributes_are_those_of_the_conventions_and_name_no_customer_s_data(world: World) -> None:
    world.worker.handled([a_command()], [], 0.1)
    assert dict(world.span("process allocate").attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.destination.name": "allocate",
        "messaging.destination.partition.id": "2",
        "messaging.kafka.offset": 7,
        "messaging.consumer.group.name": "a-group",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.message.id": "c1",
        "allocation.batch_size": 1,
    }


def test_a_refused_command_is_an_error_with_its_reason_and_its_dead_letter_belongs_to_its_sender(world: World) -> None:
    command = a_command()
    world.worker.handled([command], [a_report_of(a_refusal(command))], 0.1)
    world.relay.relayed([a_row(a_dead_letter(command))], 0.1)
    process = world.span("process allocate")
    assert (process.status.is_ok, process.status.description) == (False, "Invalid sku LAMP")
    assert (process.attributes or {})["error.type"] == "invalid_sku"
    assert world.ids("send allocation.dead_letter")[::2] == (TRACE, SENDER)
    assert world.ids("outbox wait")[::2] == (TRACE, SENDER)


def a_poisoned(record: messages.Record, *, error_class: str = "KeyError") -> reporting.Report:
    return reporting.Report(
        poisoned=[failures.Poisoned(a_message(record), failures.Failure("KeyError: 'x'", error_class))]
    )


@pytest.mark.parametrize(("error_class", "kind"), [("KeyError", "KeyError"), ("", "failed")])
def test_a_poisoned_command_is_an_error_by_the_class_of_it_and_what_comes_of_it_later_belongs_to_it(
    world: World, error_class: str, kind: str
) -> None:
    command = a_command()
    world.worker.handled([command], [a_poisoned(command, error_class=error_class)], 0.1)
    process = world.span("process allocate")
    assert (process.status.is_ok, process.status.description) == (False, "KeyError: 'x'")
    assert (process.attributes or {})["error.type"] == kind
    world.relay.relayed([a_row(an_event(command))], 0.1)
    assert world.ids("send line_allocated")[2] == world.ids("process allocate")[1]


@pytest.mark.parametrize("by_grace", [True, False])
def test_what_waited_and_fails_when_it_is_released_is_told_below_its_first_handling(
    world: World, *, by_grace: bool
) -> None:
    command, other = a_command(), a_command(traced=False)._replace(offset=8)
    world.worker.handled([command], [builders.a_report(waited=1)], 0.1)
    if by_grace:
        world.worker.expired(a_poisoned(command))
    else:
        world.worker.handled([other], [a_poisoned(command)], 0.1)
    first = next(iter(world.all_ids("process allocate")))
    assert world.ids("fail allocate")[::2] == (TRACE, first)
    assert not world.span("fail allocate").status.is_ok


def test_what_waited_and_is_refused_at_last_is_told_below_its_first_handling(world: World) -> None:
    command = a_command()
    world.worker.handled([command], [builders.a_report(waited=1)], 0.1)
    world.worker.expired(a_report_of(a_refusal(command)))
    trace, process, _ = world.ids("process allocate")
    assert world.ids("refuse allocate")[::2] == (trace, process)
    assert not world.span("refuse allocate").status.is_ok


def test_a_redriven_command_has_another_span_than_the_one_that_was_refused(world: World) -> None:
    refused, redriven = a_command(), a_command(attempt=2)
    world.worker.handled([refused], [a_report_of(a_refusal(refused))], 0.1)
    world.worker.handled([redriven], [builders.a_report(handled=1)], 0.1)
    event = an_event(redriven)
    world.relay.relayed([a_row(event)], 0.1)
    first, second = world.all_ids("process allocate")
    assert first != second
    assert world.ids("send line_allocated")[2] == second


def test_a_command_that_is_sent_again_is_told_below_its_sender(world: World) -> None:
    command = a_command(attempt=2)
    message = messages.OutboxMessage("allocate", command.key, command.value, command.headers)
    world.relay.relayed([a_row(message)], 0.1)
    assert world.ids("send allocate")[::2] == (TRACE, SENDER)


def test_an_event_that_is_announced_again_is_told_below_the_first_time(world: World) -> None:
    event = an_event(a_command())
    world.relay.relayed([a_row(event, (messages.RESENT, b"1"))], 0.1)
    assert world.ids("send line_allocated")[2] == header(event).split("-")[2]
    assert world.names == ["send line_allocated"]


def test_a_trace_that_begins_with_a_message_from_redis_begins_with_its_span(world: World) -> None:
    identity = messages.MessageId("allocation/redis", "r1")
    command = WRAPPING.command(builders.an_allocate(), id=identity, time=builders.NOW - timedelta(days=20_000))
    world.bridge.forwarded([command, a_dead_letter(a_command(traced=False))])
    record = builders.a_record(topic="allocate", headers=command.headers)
    world.worker.handled([record], [], 0.1)
    trace, root, none = world.ids("send allocate")
    assert none == ""
    assert world.ids("process allocate")[::2] == (trace, root)
    assert world.names == ["send allocate", "process allocate"]


@pytest.mark.parametrize("time", [b"", b"soon", b"0001-01-01T00:00:00", b"\xff"])
def test_a_time_that_is_none_hurts_nobody(world: World, time: bytes) -> None:
    headers = (*a_command().headers, ("dead_letter_time", time))
    world.relay.relayed([a_row(messages.OutboxMessage("allocate", b"", b"", headers))], 0.1)
    assert "send allocate" in world.names


def test_what_its_sender_does_not_sample_is_nowhere(world: World) -> None:
    command = a_command(flags="00")
    event = an_event(command)
    world.worker.handled([command], [a_report_of(a_refusal(command))], 0.1)
    world.relay.relayed([a_row(event), a_row(a_dead_letter(command))], 0.1)
    world.bridge.passed_on("email", [builders.a_record(topic=event.topic, headers=event.headers)], 0.1)
    assert world.names == []


def test_who_keeps_everything_keeps_that_too() -> None:
    world = World(sampling.ALWAYS_ON)
    command = a_command(flags="00")
    world.worker.handled([command], [], 0.1)
    world.relay.relayed([a_row(an_event(command))], 0.1)
    assert world.names == ["process allocate", "send line_allocated", "outbox wait"]


@pytest.mark.parametrize(("ratio", "spans_kept"), [(0.0, {0}), (0.5, {0, 4}), (1.0, {4})])
def test_by_ratio_a_trace_is_kept_by_all_parts_or_by_none(ratio: float, spans_kept: set[int]) -> None:
    world = World(sampling.TraceIdRatioBased(ratio))
    command = a_command(traced=False)
    event = an_event(command)
    world.worker.handled([command], [], 0.1)
    world.relay.relayed([a_row(event)], 0.1)
    world.bridge.passed_on("redis", [builders.a_record(topic=event.topic, headers=event.headers)], 0.1)
    assert len(world.names) in spans_kept


@pytest.mark.parametrize("value", [None, b"", b"00-x", b"\xff", b"00-" + b"0" * 32 + b"-" + b"1" * 16 + b"-01"])
def test_what_is_no_trace_hurts_nobody(world: World, value: bytes | None) -> None:
    headers = ((messages.CE_ID, b"\xff"), ("dead_letter_time", b"1"), (messages.TRACEPARENT, value))
    strange = builders.a_record(topic="allocate", headers=headers)
    world.worker.handled([strange], [a_report_of(a_refusal(strange))], 0.1)
    world.relay.relayed([a_row(messages.OutboxMessage("allocation.dead_letter", b"", b"", headers))], 0.1)
    world.bridge.passed_on("redis", [strange], 0.1)
    world.bridge.forwarded([messages.OutboxMessage("allocate", b"", b"", headers)])
    assert world.names == ["process allocate"]
