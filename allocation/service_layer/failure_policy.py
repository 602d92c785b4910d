"""The three fates of an error: refuse, retry, stop; and the one of a bug in the way: set the message aside.

Refusals are outcomes and never come here. `Retryable` passes through, for the worker to try again.
Anything else is unexpected: the batch is halved until the message that fails stands alone, and that
one is parked after a few tries, so that one broken message never stops the others. A parked command that
fails when it is released is known by name: it stays parked, and what released it goes through. Only the first
that meets a bug is tried again: nobody polls meanwhile, and all that meet it would take longer than the group waits.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

import stamina
import structlog

from allocation.service_layer import draining, failures, messages, ports, processing, reporting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from allocation.service_layer import grace

log = structlog.get_logger()

_Done = TypeVar("_Done")

_FIRST_WAIT_S = 0.05
_LAST_WAIT_S = 1.0  # five tries take less than a session: the worker does not poll meanwhile
_JITTER_S = 0.05  # as the first wait: the library's own would be the longest wait each time
_PATIENCE_S = 2.0  # of trying again in one pass, however much fails in it, for the same reason
_BLAMED_AT_ONCE = 2  # parked commands; where more fail, fewer are gone through at a time


class Processing(Protocol):
    """What the policy is applied to."""

    def process(
        self, records: Sequence[messages.Record], *, failed: Mapping[draining.Culprit, failures.Failure]
    ) -> reporting.Report:
        """Handle all or nothing."""

    def set_aside(self, record: messages.Record, *, failure: failures.Failure) -> reporting.Report:
        """Park one."""


class FailurePolicy:
    """Processes records so that only `Retryable` and `LogDiverged` are left to the caller."""

    def __init__(self, processor: Processing, *, max_retries: int) -> None:
        self._processor = processor
        self._max_retries = max_retries

    def process(
        self, records: Sequence[messages.Record], *, conflicts_are_faults: bool = False
    ) -> list[reporting.Report]:
        """Handle these records in order, in as few transactions as their faults allow.

        `conflicts_are_faults` when the same conflict came back so often that it is no coincidence.
        """
        return self._process(records, _Passing(conflicts_are_faults))

    def passage(self) -> grace.Passage:
        """Return what has parked commands handled; what failed in one attempt is known in the next."""
        return _Passage(self)

    def _process(self, records: Sequence[messages.Record], passing: _Passing) -> list[reporting.Report]:
        reports = []
        pending = [records]
        while pending:
            done = self._step(pending.pop(), passing)
            if isinstance(done, reporting.Report):
                reports.append(done)
            else:
                pending.extend(reversed(done))
        return reports

    def _step(
        self, records: Sequence[messages.Record], passing: _Passing
    ) -> reporting.Report | Sequence[Sequence[messages.Record]]:
        """Handle these; return what was done, or what is to be tried instead, in order."""

        def culprit(error: Exception) -> messages.Record | None:
            alone = records[0] if len(records) == 1 and not passing.is_for_caller(error) else None
            return _parked_culprit(error) or alone

        try:
            return self.attempt(lambda: self._processor.process(records, failed=passing.failed), passing, culprit)
        except draining.Failed as last:
            passing.blame(last)
            return [records]
        except Exception as last:
            if passing.is_for_caller(last):
                raise
            if len(records) > 1:
                middle = len(records) // 2
                return [records[:middle], records[middle:]]
            return self._set_aside(records[0], passing.failure(last))

    def _set_aside(self, record: messages.Record, failure: failures.Failure) -> reporting.Report:
        log.error("worker.message_set_aside", **_where(record), error=failure.error, stack=failure.stack)
        return self._processor.set_aside(record, failure=failure)

    def attempt(
        self, attempt: Callable[[], _Done], passing: _Passing, culprit: Callable[[Exception], messages.Record | None]
    ) -> _Done:
        """Try, and a few times more when it is known what fails, its error is new, and there is time."""
        try:
            return attempt()
        except Exception as error:
            record = culprit(error)
            if record is None or not passing.is_worth_patience(error):
                raise
            log.warning("worker.message_failed", **_where(record), exc_info=error)
        retrying = stamina.RetryingCaller(
            attempts=self._max_retries + 1,
            timeout=None,
            wait_initial=_FIRST_WAIT_S,
            wait_max=_LAST_WAIT_S,
            wait_jitter=_JITTER_S,
        )
        with passing.patience():
            return retrying(lambda error: culprit(error) is not None, attempt)


class _Passing:
    """Tells which errors are not the policy's: what is no fault of the message. Knows what failed, and how.

    What fails in the same place as another before it is not tried again and again: it is the same bug.
    """

    def __init__(self, conflicts_are_faults: bool = False) -> None:  # noqa: FBT001, FBT002 - named where it is made
        retryable = (ports.DependencyDown, ports.LockedOut) if conflicts_are_faults else (ports.Retryable,)
        self._not_ours = (processing.LogDiverged, *retryable)
        self._stacks: set[str] = set()
        self.failed: dict[draining.Culprit, failures.Failure] = {}
        self.patience_s = 0.0

    def is_for_caller(self, error: Exception) -> bool:
        return isinstance(error, self._not_ours)

    def is_worth_patience(self, error: Exception) -> bool:
        return self.patience_s < _PATIENCE_S and _failure(error).stack not in self._stacks

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.patience_s += time.monotonic() - began

    def failure(self, error: Exception) -> failures.Failure:
        """Return what is to be written down of an error that is final."""
        failure = _failure(error)
        self._stacks.add(failure.stack)
        return failure

    def blame(self, error: draining.Failed) -> None:
        """Remember which parked command is not to be tried again."""
        self.failed[error.culprit] = self.failure(error)
        where = _where(error.parked.message.record)
        log.error(
            "worker.parked_message_set_aside",
            **where,
            queue=error.parked.queue,
            error=error.failure.error,
            stack=error.failure.stack,
            exc_info=error,
        )


class _Passage:
    """See `grace.Passage`."""

    def __init__(self, policy: FailurePolicy) -> None:
        self._policy = policy
        self._passing = _Passing()

    @property
    def patience_s(self) -> float:
        return self._passing.patience_s

    def __call__(self, attempt: grace.Attempt) -> reporting.Report:
        blamed = 0
        while True:
            try:
                return self._policy.attempt(
                    lambda: attempt(failed=self._passing.failed), self._passing, _parked_culprit
                )
            except draining.Failed as last:
                self._passing.blame(last)
                blamed += 1
                if blamed > _BLAMED_AT_ONCE:
                    raise


def _parked_culprit(error: Exception) -> messages.Record | None:
    return error.parked.message.record if isinstance(error, draining.Failed) else None


def _failure(error: Exception) -> failures.Failure:
    return error.failure if isinstance(error, draining.Failed) else failures.of(error)


def _where(record: messages.Record) -> dict[str, object]:
    return {"topic": record.topic, "partition": record.partition, "offset": record.offset}
