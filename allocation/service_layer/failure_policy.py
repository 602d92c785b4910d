"""The three fates of an error: refuse, retry, stop; and the one of a bug in the way: set the message aside.

Refusals are outcomes and never come here. `Retryable` passes through, for the worker to try again.
Anything else is unexpected: the batch is halved until the message that fails stands alone, and that
one is parked after a few tries, so that one broken message never stops the others. A parked command that
fails when it is released is known by name: it stays parked, and what released it goes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import stamina
import structlog

from allocation.service_layer import draining, failures, messages, ports, processing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from allocation.service_layer import grace

log = structlog.get_logger()

_Done = TypeVar("_Done")

_FIRST_WAIT_S = 0.05
_LAST_WAIT_S = 1.0  # five tries take less than a session: the worker does not poll meanwhile


class Processing(Protocol):
    """What the policy is applied to."""

    def process(
        self, records: Sequence[messages.Record], *, failed: Mapping[draining.Culprit, failures.Failure]
    ) -> processing.Report:
        """Handle all or nothing."""

    def set_aside(self, record: messages.Record, *, failure: failures.Failure) -> processing.Report:
        """Park one."""


class FailurePolicy:
    """Processes records so that only `Retryable` and `LogDiverged` are left to the caller."""

    def __init__(self, processor: Processing, *, max_retries: int) -> None:
        self._processor = processor
        self._max_retries = max_retries

    def process(
        self, records: Sequence[messages.Record], *, conflicts_are_faults: bool = False
    ) -> list[processing.Report]:
        """Handle these records in order, in as few transactions as their faults allow.

        `conflicts_are_faults` when the same conflict came back so often that it is no coincidence.
        """
        return self._process(records, _Passing(conflicts_are_faults))

    def go_through(self, attempt: grace.Attempt) -> processing.Report:
        """Have parked commands handled; those that fail again and again are left where they are, as poisoned.

        An error that is no parked command's passes through.
        """
        passing = _Passing()
        while True:
            try:
                return self._patiently(_is_of_a_parked_one, lambda: attempt(failed=passing.failed))
            except draining.Failed as last:
                passing.blame(last)

    def _process(self, records: Sequence[messages.Record], passing: _Passing) -> list[processing.Report]:
        try:
            return [self._processor.process(records, failed=passing.failed)]
        except Exception as error:
            if passing.is_for_caller(error):
                raise
            if isinstance(error, draining.Failed) or len(records) == 1:
                return self._again(records, error, passing)
            return self._in_halves(records, passing)

    def _in_halves(self, records: Sequence[messages.Record], passing: _Passing) -> list[processing.Report]:
        middle = len(records) // 2
        return [*self._process(records[:middle], passing), *self._process(records[middle:], passing)]

    def _again(
        self, records: Sequence[messages.Record], error: Exception, passing: _Passing
    ) -> list[processing.Report]:
        """Try what failed a few times more, then do without the one that is to blame."""
        log.warning("worker.message_failed", **_where(records[0]), records=len(records), exc_info=error)
        try:
            return [
                self._patiently(
                    lambda error: not passing.is_for_caller(error),
                    lambda: self._processor.process(records, failed=passing.failed),
                )
            ]
        except draining.Failed as last:
            passing.blame(last)
            return self._process(records, passing)
        except Exception as last:
            if passing.is_for_caller(last):
                raise
            if len(records) > 1:
                return self._in_halves(records, passing)
            return [self._set_aside(records[0], last)]

    def _set_aside(self, record: messages.Record, error: Exception) -> processing.Report:
        failure = failures.of(error)
        log.error("worker.message_set_aside", **_where(record), error=failure.error, stack=failure.stack)
        return self._processor.set_aside(record, failure=failure)

    def _patiently(self, may_try_again: Callable[[Exception], bool], attempt: Callable[[], _Done]) -> _Done:
        retrying = stamina.RetryingCaller(
            attempts=self._max_retries + 1, timeout=None, wait_initial=_FIRST_WAIT_S, wait_max=_LAST_WAIT_S
        )
        return retrying(may_try_again, attempt)


class _Passing:
    """Tells which errors are not the policy's: what is no fault of the message. Knows the parked ones that failed."""

    def __init__(self, conflicts_are_faults: bool = False) -> None:  # noqa: FBT001, FBT002 - named where it is made
        retryable = (ports.DependencyDown, ports.LockedOut) if conflicts_are_faults else (ports.Retryable,)
        self._not_ours = (processing.LogDiverged, *retryable)
        self.failed: dict[draining.Culprit, failures.Failure] = {}

    def is_for_caller(self, error: Exception) -> bool:
        return isinstance(error, self._not_ours)

    def blame(self, error: draining.Failed) -> None:
        """Remember which parked command is not to be tried again."""
        self.failed[error.culprit] = error.failure
        where = _where(error.parked.message.record)
        log.error(
            "worker.parked_message_set_aside",
            **where,
            queue=error.parked.queue,
            error=error.failure.error,
            stack=error.failure.stack,
            exc_info=error,
        )


def _is_of_a_parked_one(error: Exception) -> bool:
    return isinstance(error, draining.Failed)


def _where(record: messages.Record) -> dict[str, object]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
