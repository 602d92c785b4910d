"""The worker: takes micro-batches from the group's consumer, has them processed, and goes on.

Guards that offsets are committed only after the database has, and that a dead dependency pauses the
work: the worker keeps its partitions, waits, and goes on by itself. After the database was lost it writes
nothing before it has seen that the one which answers now is no older state of it.
"""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Protocol

import structlog

from allocation.service_layer import (
    brakes,
    kill_points,
    messages,
    ports,
    processing,
    reading,
    refusals,
    reporting,
    signals,
    traces,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Sequence

    from allocation.service_layer import failure_policy, grace

log = structlog.get_logger()

POLL_TIMEOUT_S = 0.2  # how soon a stop is noticed while nothing arrives
HOUSEKEEPING_INTERVAL_S = 0.5
_FIRST_BACKOFF_S = 0.05
_LAST_BACKOFF_S = 5.0  # a dependency that is back is noticed within this time
_LAST_CONFLICT_BACKOFF_S = 0.5  # whoever was in the way of a transaction needs no rest
_MAX_DOUBLINGS = 10  # lead beyond the last; an outage of hours must not count up to what no float holds
_MAX_CONFLICTS = 20  # in a row; more are no coincidence but a fault of the message


class Consumer(Protocol):
    """A member of the consumer group."""

    rebalances: int

    def poll(self, max_records: int, *, timeout_s: float) -> Sequence[messages.Record]:
        """Return what has arrived."""

    def keep_alive(self, duration_s: float) -> None:
        """Stay in the group for a while without taking anything."""

    def leave(self) -> None:
        """Be no member of the group until `join`, which puts all to the stored positions; neither blocks."""

    def join(self) -> None:
        """Be a member again."""

    def place_again(self) -> None:
        """Begin anew at the stored positions."""

    def set_aside(self, topic: str, partition: int, problem: str) -> None:
        """Take nothing more from a partition."""

    def partitions(self) -> signals.Partitions:
        """Return what this member has now; does not block."""

    def take_ends(self) -> Iterable[messages.LogEnd]:
        """Return the ends that were reached since the last call."""

    def commit(self, records: Iterable[messages.Record]) -> None:
        """Commit the group's offsets, without waiting."""


class Currency(Protocol):
    """Whether the database is as new as its topics: one that answers again may be an older state of it."""

    is_doubtful: bool
    """A connection was lost since it was checked; costs nothing."""

    def check(self) -> None:
        """Look, and doubt no more; raises `Retryable`, and what no worker goes on with when it is older."""


class Worker:
    """Runs in one thread until told to stop."""

    def __init__(
        self,
        *,
        consumer: Consumer,
        processor: processing.Processor,
        policy: failure_policy.FailurePolicy,
        grace: grace.Grace,
        currency: Currency,
        brakes: brakes.Brakes,
        batch_size: brakes.BatchSize,
        signals: signals.Signals = signals.SILENT,
    ) -> None:
        self._consumer = consumer
        self._processor = processor
        self._policy = policy
        self._grace = grace
        self._currency = currency
        self._brakes = brakes
        self._batch_size = batch_size
        self._signals = signals
        self._braked_for: str | None = None
        self._away: str | None = None
        self._housekeeping_at = 0.0
        self._failures = 0
        self._ends: deque[messages.LogEnd] = deque()

    def run(self, stopping: threading.Event) -> None:
        """Work until the event is set; the batch in hand is finished first. Raises what `Currency.check` does."""
        while not stopping.is_set():
            try:
                if self._currency.is_doubtful:
                    self._begin_anew()
                has_kept_house = self._keep_house()
                self._take_on(stopping)
                self._failures = 0
                if has_kept_house:  # a turn without it may only have passed over what does not answer
                    self._signals.says("work")
            except ports.Retryable as error:
                self._back_off(error)

    def _begin_anew(self) -> None:
        """Go on from where the database is now, which may not be where it was; nothing else is done before."""
        self._currency.check()
        self._ends.clear()
        self._consumer.place_again()

    def _take_on(self, stopping: threading.Event) -> None:
        if self._away or self._is_braked():
            self._consumer.keep_alive(POLL_TIMEOUT_S)
        elif records := self._consumer.poll(self._batch_size.records, timeout_s=POLL_TIMEOUT_S):
            self._handle(records, stopping)

    def _handle(self, records: Sequence[messages.Record], stopping: threading.Event) -> None:
        """Process until it is done, or the records are no longer ours, or the process is to stop, or there is doubt.

        What fails is tried again with fewer records: it may have been more than the database allows one transaction.
        """
        rebalances = self._consumer.rebalances
        conflicts = 0
        while records and not stopping.is_set() and not self._currency.is_doubtful:
            started = time.monotonic()
            batch = records[: self._batch_size.records]
            try:
                reports = self._policy.process(batch, conflicts_are_faults=conflicts >= _MAX_CONFLICTS)
            except processing.LogDiverged as error:
                self._consumer.set_aside(error.topic, error.partition, str(error))
                records = [one for one in records if (one.topic, one.partition) != (error.topic, error.partition)]
            except ports.Retryable as error:
                conflicts += not isinstance(error, ports.DependencyDown)
                self._batch_size.failed()
                if self._currency.is_doubtful or isinstance(error, processing.GoneBack):
                    raise
                self._back_off(error)
                if self._consumer.rebalances != rebalances:
                    self._consumer.place_again()
                    return
            else:
                kill_points.reached("worker.after_commit")
                self._consumer.commit(batch)
                self._learn(batch, reports, time.monotonic() - started)
                records = records[len(batch) :]
                conflicts = self._failures = 0
        if records:
            self._consumer.place_again()

    def _learn(
        self, records: Sequence[messages.Record], reports: Sequence[reporting.Report], duration_s: float
    ) -> None:
        self._batch_size.took(duration_s)
        outcomes: Counter[str] = Counter()
        for report in reports:
            outcomes.update(report.outcomes)
            refusals.tell(report.refusals)
        self._brakes.circuit.count(outcomes)
        self._signals.handled(records, reports, duration_s)
        log.info(
            "worker.batch",
            records=len(records),
            **_whereabouts(records),
            repeated=sum(sum(report.repeated.values()) for report in reports),
            events=sum(report.events for report in reports),
            duration_ms=round(duration_s * 1000, 1),
            **outcomes,
        )

    def _is_braked(self) -> bool:
        reason = self._brakes.reason
        if reason != self._braked_for:
            self._braked_for = reason
            if reason is None:
                log.info("worker.goes_on")
            else:
                log.error("worker.stands_still", reason=reason)
        return reason is not None

    def _heed(self, intermission: str | None) -> None:
        """Leave the group for as long as somebody moves its offsets; nothing is in hand here."""
        if (intermission is None) == (self._away is None):
            return
        if intermission is None:
            self._consumer.join()
            self._away = None
            log.info("worker.joins_again")
        else:
            self._consumer.leave()
            since = time.strftime("%H:%M:%S UTC", time.gmtime())
            self._away = f"stands still since {since}: the group's offsets are moved by {intermission}"
            log.warning("worker.leaves_group", intermission=intermission)

    def _keep_house(self) -> bool:
        now = time.monotonic()
        if now < self._housekeeping_at:
            return False
        self._housekeeping_at = now + HOUSEKEEPING_INTERVAL_S
        self._tell()
        self._brakes.look()
        self._heed(self._brakes.intermission)
        self._ends.extend(self._consumer.take_ends())
        while self._ends:  # each is told only once: it is kept until the database has it
            self._processor.pass_over(self._ends[0])
            self._ends.popleft()
        for report in self._grace.check():
            self._signals.expired(report)
            refusals.tell(report.refusals)
            log.info("worker.grace_over", **report.outcomes, events=report.events)
        return True

    def _tell(self) -> None:
        """Say how things are; asks nobody."""
        for brake, problem in self._brakes.problems.items():
            self._signals.says(brake, problem)
        partitions = self._consumer.partitions()
        self._signals.has_partitions(partitions, rebalances=self._consumer.rebalances)
        none = "no partitions: the group is rebalancing, or has more workers than those"
        problem = self._away or (None if partitions.assigned else none)
        self._signals.says("assignment", problem, state=f"{partitions.assigned} partitions")
        aside = "; ".join(f"{name} is set aside: {problem}" for name, problem in partitions.set_aside.items())
        held = f"held until others have caught up: {', '.join(partitions.held)}" if partitions.held else "ok"
        self._signals.says("partitions", aside or None, state=held)

    def _back_off(self, error: ports.Retryable) -> None:
        if isinstance(error, processing.GoneBack):
            self._currency.is_doubtful = True
        self._signals.says("work", str(error))
        self._signals.retries(is_outage=isinstance(error, ports.DependencyDown))
        if self._failures == 0 or isinstance(error, ports.DependencyDown):
            log.warning("worker.retrying", error=str(error), failures=self._failures)
        last = _LAST_BACKOFF_S if isinstance(error, ports.DependencyDown) else _LAST_CONFLICT_BACKOFF_S
        longest = min(_FIRST_BACKOFF_S * 2 ** min(self._failures, _MAX_DOUBLINGS), last)
        self._failures += 1
        self._consumer.keep_alive(random.uniform(longest / 2, longest))  # noqa: S311 - jitter, no secret


def _whereabouts(records: Sequence[messages.Record]) -> dict[str, object]:
    """Say where a micro-batch lies and to which traces it belongs; of a single message also its id."""
    first, last = records[0], records[-1]
    ids: dict[str, object] = {
        "first": f"{first.topic}/{first.partition}/{first.offset}",
        "last": f"{last.topic}/{last.partition}/{last.offset}",
    }
    if len(records) > 1:
        return ids | {"trace_ids": traces.of_records(records)}
    headers = dict(first.headers)
    sender, _, _ = reading.identity(first, headers)
    trace = traces.of_command(sender, headers.get(messages.TRACEPARENT))
    return ids | {"message_id": sender.id, "trace_id": trace.id.decode()}
