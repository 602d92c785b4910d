"""The three fates of an error: refuse, retry, stop; and the one of a bug in the way: set the message aside.

Refusals are outcomes and never come here. `Retryable` passes through, for the worker to try again.
Anything else is unexpected: the batch is halved until the message that fails stands alone, and that
one is parked after a few tries, so that one broken message never stops the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import stamina
import structlog

from allocation.service_layer import messages, ports, processing

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger()

_FIRST_WAIT_S = 0.05
_LAST_WAIT_S = 1.0  # five tries take less than a session: the worker does not poll meanwhile


class Processing(Protocol):
    """What the policy is applied to."""

    def process(self, records: Sequence[messages.Record]) -> processing.Report:
        """Handle all or nothing."""

    def set_aside(self, record: messages.Record, *, error: str) -> processing.Report:
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

    def _process(self, records: Sequence[messages.Record], passing: _Passing) -> list[processing.Report]:
        try:
            return [self._processor.process(records)]
        except Exception as error:
            if passing.is_for_caller(error):
                raise
            if len(records) == 1:
                return [self._alone(records[0], error, passing)]
            middle = len(records) // 2
            return [*self._process(records[:middle], passing), *self._process(records[middle:], passing)]

    def _alone(self, record: messages.Record, error: Exception, passing: _Passing) -> processing.Report:
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        log.warning("worker.message_failed", **where, exc_info=error)
        try:
            return self._again(record, passing)
        except Exception as last:
            if passing.is_for_caller(last):
                raise
            log.error("worker.message_set_aside", **where, error=sentence(last))  # noqa: TRY400 - its trace was logged above
            return self._processor.set_aside(record, error=sentence(last))

    def _again(self, record: messages.Record, passing: _Passing) -> processing.Report:
        retrying = stamina.RetryingCaller(
            attempts=self._max_retries + 1, timeout=None, wait_initial=_FIRST_WAIT_S, wait_max=_LAST_WAIT_S
        )
        return retrying(lambda error: not passing.is_for_caller(error), self._processor.process, [record])


class _Passing:
    """Tells which errors are not the policy's: what is no fault of the message."""

    def __init__(self, conflicts_are_faults: bool) -> None:  # noqa: FBT001 - named where it is made
        self._retryable = ports.DependencyDown if conflicts_are_faults else ports.Retryable

    def is_for_caller(self, error: Exception) -> bool:
        return isinstance(error, (self._retryable, processing.LogDiverged))


def sentence(error: Exception) -> str:
    """Return an error as text that can be stored, whatever it says."""
    return messages.sentence(f"{type(error).__name__}: {error}")
