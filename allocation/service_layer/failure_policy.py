"""The three fates of an error: refuse, retry, stop; and the one of a bug in the way: set the message aside.

Refusals are outcomes and never come here. `Retryable` passes through, for the worker to try again.
Anything else is unexpected: the batch is halved until the message that fails stands alone, and that
one is parked after a few tries, so that one broken message never stops the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import stamina
import structlog

from allocation.service_layer import ports, processing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.service_layer import messages

_log = structlog.get_logger()


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

    def process(self, records: Sequence[messages.Record]) -> list[processing.Report]:
        """Handle these records in order, in as few transactions as their faults allow."""
        try:
            return [self._processor.process(records)]
        except (ports.Retryable, processing.LogDiverged):
            raise
        except Exception as error:  # noqa: BLE001 - a bug, or a value nobody thought of; it is kept, not swallowed
            if len(records) == 1:
                return [self._alone(records[0], error)]
            middle = len(records) // 2
            return [*self.process(records[:middle]), *self.process(records[middle:])]

    def _alone(self, record: messages.Record, error: Exception) -> processing.Report:
        where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        _log.warning("worker.message_failed", **where, exc_info=error)
        try:
            return self._again(record)
        except (ports.Retryable, processing.LogDiverged):
            raise
        except Exception as last:  # noqa: BLE001 - see above
            _log.error("worker.message_set_aside", **where, error=repr(last))
            return self._processor.set_aside(record, error=f"{type(last).__name__}: {last}")

    def _again(self, record: messages.Record) -> processing.Report:
        for attempt in stamina.retry_context(
            on=_is_unexpected, attempts=self._max_retries + 1, timeout=None, wait_initial=0.05, wait_max=1.0
        ):
            with attempt:
                return self._processor.process([record])
        raise AssertionError("unreachable: the last attempt returns or raises")


def _is_unexpected(error: Exception) -> bool:
    return not isinstance(error, (ports.Retryable, processing.LogDiverged))
