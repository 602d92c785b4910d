"""Turn what the parts say into metrics; costs a few microseconds for each micro-batch or pass."""

from __future__ import annotations

import json
import operator
import re
import time
from collections import Counter, defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

from allocation.adapters.prometheus import metrics
from allocation.service_layer import messages, signals
from allocation.service_layer.operations import dead_letters

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import prometheus_client

    from allocation.service_layer import reporting
    from allocation.service_layer.relaying import ports as relaying

_CAUSES = _OUTAGE, _CONFLICT = ("outage", "conflict")
_topic = operator.itemgetter(0)
_place_and_time = operator.itemgetter(0, 2, 8)  # of a record: topic, partition, timestamp
_topic_of_row = operator.itemgetter(1)
_topic_of_message = operator.attrgetter("topic")
# In the text that the outbox has: a quotation mark within a value is escaped there, so no value looks like these.
_EVENT = f'["{messages.CE_SEQUENCE}", '
_SINCE = re.compile(rf'\["{messages.COMMANDS_SINCE}", "(\d+)"\]')
_REASON = re.compile(r'\["dead_letter_reason", "([a-z_]+)"\]')


class WorkerSignals(signals.Standing):
    """Hears a worker."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        super().__init__()
        self._consumed = metrics.CONSUMED.counter(registry)
        self._outcomes = metrics.OUTCOMES.counter(registry)
        self._handling = metrics.HANDLING.counter(registry)
        self._batch_size = metrics.BATCH_SIZE.histogram(registry)
        self._batch_duration = metrics.BATCH_DURATION.histogram(registry)
        self._delay = metrics.COMMAND_DELAY.histogram(registry)
        self._events = metrics.EVENTS.counter(registry)
        self._retries = metrics.RETRIES.counter(registry)
        _begin_at_nothing(self._retries, _CAUSES)
        self._rebalances = metrics.REBALANCES.counter(registry)
        self._partitions = metrics.PARTITIONS.gauge(registry)
        self._rebalances_known = 0
        self._handled_at: dict[tuple[str, int], float] = {}
        self._committed: Mapping[tuple[str, int], int] = {}

    def handled(
        self, records: Sequence[messages.Record], reports: Sequence[reporting.Report], duration_s: float
    ) -> None:
        """Count and time a micro-batch."""
        own_s = _by_topic(reports)
        shared_s = max(duration_s - sum(own_s.values()), 0.0) / len(records)
        for topic, count in Counter(map(_topic, records)).items():
            self._consumed.labels(topic).inc(count)
            self._handling.labels(topic).inc(own_s.get(topic, 0.0) + shared_s * count)
        self._batch_size.observe(len(records))
        self._batch_duration.observe(duration_s)
        for report in reports:
            self._count(report)
        last = {(topic, partition): at / 1000 for topic, partition, at in map(_place_and_time, records)}
        self._handled_at.update(last)
        times = [record.timestamp_ms / 1000 for record in records]
        for created in (min(times), max(times))[: len(records)]:
            self._delay.observe(max(time.time() - created, 0.0))

    def expired(self, report: reporting.Report) -> None:
        """Count what the end of a grace brought about."""
        self._count(report)

    def retries(self, *, is_outage: bool) -> None:
        """Count it."""
        self._retries.labels(_OUTAGE if is_outage else _CONFLICT).inc()

    def has_partitions(self, partitions: signals.Partitions, *, rebalances: int) -> None:
        """Note them."""
        # A worker that opens anew counts from the beginning.
        self._rebalances.inc(max(rebalances - self._rebalances_known, 0))
        self._rebalances_known = rebalances
        self._committed = partitions.committed
        self._partitions.labels("assigned").set(partitions.assigned)
        self._partitions.labels("held").set(len(partitions.held))
        self._partitions.labels("set_aside").set(len(partitions.set_aside))

    def handled_at(self) -> Mapping[tuple[str, int], float]:
        """Return when the last command was created that was handled here (Unix time), by topic and partition."""
        return dict(self._handled_at)

    def committed(self) -> Mapping[tuple[str, int], int]:
        """Return the group's offsets of this worker's partitions, as far as it has committed any."""
        return self._committed

    def _count(self, report: reporting.Report) -> None:
        for fate, count in report.fates.items():
            self._outcomes.labels(*fate).inc(count)
        for topic, count in report.repeated.items():
            self._outcomes.labels(topic, "repeated").inc(count)
        for announced, count in report.announced.items():
            self._events.labels(*announced).inc(count)


class RelaySignals(signals.Standing):
    """Hears a relay; the topics are those whose messages tell more than that they were sent."""

    def __init__(
        self, registry: prometheus_client.CollectorRegistry, *, dead_letter_topic: str, journal_topic: str
    ) -> None:
        super().__init__()
        self._dead_letter_topic = dead_letter_topic
        self._journal_topic = journal_topic
        self._sent = metrics.SENT.counter(registry)
        self._dead_letters = metrics.DEAD_LETTERS.counter(registry)
        _begin_at_nothing(self._dead_letters, dead_letters.REASONS)
        self._size = metrics.PASS_SIZE.histogram(registry)
        self._duration = metrics.PASS_DURATION.histogram(registry)
        self._delay = metrics.PUBLICATION_DELAY.histogram(registry)
        self._end_to_end = metrics.END_TO_END.histogram(registry)

    def relayed(self, rows: Sequence[relaying.Row], duration_s: float) -> None:
        """Count and time a pass."""
        counts = Counter(map(_topic_of_row, rows))
        for topic, count in counts.items():
            self._sent.labels(topic).inc(count)
        self._size.observe(len(rows))
        self._duration.observe(duration_s)
        if counts[self._dead_letter_topic]:
            self._count_reasons(row[5] for row in rows if row[1] == self._dead_letter_topic)
        # A dead letter has the headers of its sender, which may look like anything.
        events = (row for row in rows if row[1] != self._dead_letter_topic and _EVENT in row[5])
        if (oldest := next(events, None)) is not None:
            self._delay.observe(max(time.time() - _created(oldest[5]), 0.0))
        if counts[self._journal_topic]:
            self._observe_commands(row[5] for row in rows if row[1] == self._journal_topic)

    def _observe_commands(self, headers: Iterable[str]) -> None:
        now = time.time()
        for since in filter(None, map(_SINCE.search, headers)):
            self._end_to_end.observe(max(now - int(since[1]) / 1000, 0.0))

    def _count_reasons(self, headers: Iterable[str]) -> None:
        for found, count in Counter(map(_reason, headers)).items():
            self._dead_letters.labels(found).inc(count)


class BridgeSignals(signals.Standing):
    """Hears a bridge."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        super().__init__()
        self._sent = metrics.SENT.counter(registry)
        self._delivered = metrics.DELIVERED.counter(registry)

    def forwarded(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        """Count them by topic."""
        for topic, count in Counter(map(_topic_of_message, outgoing)).items():
            self._sent.labels(topic).inc(count)

    def passed_on(self, reader: str, events: Sequence[messages.Record], duration_s: float) -> None:  # noqa: ARG002
        """Count them."""
        self._delivered.labels(reader).inc(len(events))


def _begin_at_nothing(counter: prometheus_client.Counter, labels: Iterable[str]) -> None:
    """Export 0 for each: Prometheus sees no increase in a series that is not there before."""
    for label in labels:
        counter.labels(label)


def _by_topic(reports: Sequence[reporting.Report]) -> Mapping[str, float]:
    own_s: dict[str, float] = defaultdict(float)
    for report in reports:
        for topic, handling_s in report.handling_s.items():
            own_s[topic] += handling_s
    return own_s


def _created(headers: str) -> float:
    """Return when an event of ours happened (Unix time)."""
    return datetime.fromisoformat(dict(json.loads(headers))[messages.CE_TIME]).timestamp()


def _reason(headers: str) -> str:
    found = _REASON.search(headers)
    return found[1] if found else "unknown"
