"""The topics at the time of a verification: whole logs, or none of it can be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.service_layer.operations.verify.findings import Check, Findings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from allocation.service_layer import messages
    from allocation.service_layer.operations.verify import ports

_PROGRESS_EVERY = 1000  # records; a bar moves smoothly, and telling it costs nothing beside the reading


class CannotVerify(Exception):
    """There is not enough left, or not the right thing, to compare; says what, and what helps."""


class Sources:
    """Reads topics up to where they end now; to be made after the snapshot was taken."""

    def __init__(self, logs: ports.Logs, *, names: Sequence[str], on_progress: ports.Progress) -> None:
        self._logs = logs
        self._bounds = logs.bounds(names)
        self._on_progress = on_progress
        for (topic, partition), bounds in self._bounds.items():
            if bounds.begin > 0:
                raise CannotVerify(
                    f"{topic}/{partition} begins at offset {bounds.begin}: earlier records are gone, and all are "
                    "needed; the topic's retention.ms must be -1"
                )

    def read(
        self, what: str, names: Sequence[str], *, until: Mapping[ports.TopicPartition, int] | None = None
    ) -> Iterator[messages.Record]:
        """Yield the records of these topics, before the offsets `until` where they are given."""
        ends = {log: bounds.end for log, bounds in self._bounds.items() if log[0] in names}
        if until is not None:
            ends = {log: min(end, until.get(log, 0)) for log, end in ends.items()}
        total = sum(ends.values())  # offsets: markers of transactions count as well
        done = 0
        for done, record in enumerate(self._logs.read(names, until=ends), start=1):
            if done % _PROGRESS_EVERY == 0:
                self._on_progress(what, done, total)
            yield record
        self._on_progress(what, done, done)

    def check_ends(self, findings: Findings) -> None:
        """See that nothing at the end of a log is hidden from readers of committed records."""
        for (topic, partition), bounds in self._bounds.items():
            if bounds.hidden:
                text = (
                    f"its last {bounds.hidden} offsets, from {bounds.end} on, are hidden behind a transaction that "
                    "does not end: readers of committed records see none of them; `kafka-transactions find-hanging` "
                    "says whose it is, and `abort` ends it"
                )
                findings.add(Check.ENDS, f"{topic}/{partition}", text)
        findings.compared[Check.ENDS] = len(self._bounds)

    def check_positions(
        self, positions: Mapping[messages.LogPartition, tuple[str, int]], findings: Findings
    ) -> dict[ports.TopicPartition, int]:
        """Return the positions by the topic's name; raises `CannotVerify` when they are those of another topic."""
        by_name = {}
        findings.compared[Check.POSITIONS] = len(positions)
        for log, (topic, next_offset) in positions.items():
            bounds = self._bounds.get((topic, log.partition))
            if bounds is None or bounds.topic_id != log.topic_id:
                raise CannotVerify(
                    f"the position of {topic}/{log.partition} is one in another topic, with the id {log.topic_id}: "
                    "its records are gone"
                )
            if next_offset > bounds.end:
                text = f"is handled up to offset {next_offset}, but ends at {bounds.end}: was the topic truncated?"
                findings.add(Check.POSITIONS, f"{topic}/{log.partition}", text)
            by_name[topic, log.partition] = next_offset
        return by_name
