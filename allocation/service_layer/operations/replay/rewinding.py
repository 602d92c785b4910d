"""Move the group's offsets back, so that workers read what lies there again.

Reading again is all that follows: a worker goes back to the group's offset when that is behind its
position, and skips what lies below the position, since the database has it. So no offset, however
wrong, repeats or loses anything; what a restored database lacks lies above its position already.

Kafka moves no offsets of a group that has members. So there is an intermission, if it is asked for: workers see it in
the database, leave the group, and come back when it is over, which it is soon by itself when nobody prolongs it.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocation.service_layer import messages
from allocation.service_layer import ports as service_ports
from allocation.service_layer.operations import audit
from allocation.service_layer.operations.replay import ports, targets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

POLL_S = 0.5  # how soon it is noticed that the last member has left
LEASE_S = 15.0  # of an intermission that nobody prolongs; to look once takes ten seconds at most
PATIENCE_S = 60.0  # above the 45 s for which a broker keeps a silent member of the consumer protocol


@dataclass(frozen=True, slots=True)
class Move:
    """One partition of the group: from where to where, and up to which position the database has it."""

    at: ports.TopicPartition
    committed: int | None
    target: int
    position: int

    @property
    def is_one(self) -> bool:
        """Whether the group is elsewhere now; without an offset it is at the position."""
        return self.target != (self.position if self.committed is None else self.committed)

    @property
    def read_again(self) -> int:
        """How many offsets are read again, and skipped."""
        return max(self.position - self.target, 0)


class Rewinder:
    """Works on one group; every method blocks."""

    def __init__(
        self,
        *,
        logs: ports.Logs,
        group: ports.Group,
        positions: ports.Positions,
        begin: Callable[[], audit.OperatorUnitOfWork],
        intermission: Callable[[audit.Note], ports.Intermission],
    ) -> None:
        self._logs = logs
        self._group = group
        self._positions = positions
        self._begin = begin
        self._intermission = intermission

    def moves(self, names: Sequence[str], target: targets.Target, *, partitions: Collection[int] = ()) -> list[Move]:
        """Return where each partition of these topics is to go; never ahead of its position. Raises `CannotReplay`."""
        bounds = targets.chosen(self._logs.bounds(names), partitions)
        stored, committed = self._positions(), self._group.committed(bounds)
        positions = {}
        for at, one in bounds.items():
            position = stored.get(messages.LogPartition(one.topic_id, at.partition))
            positions[at] = one.begin if position is None else position.next_offset
        current = {at: committed.get(at, position) for at, position in positions.items()}
        found = targets.offsets(target, logs=self._logs, bounds=bounds, current=current)
        if isinstance(target, targets.ToOffset):
            _check_not_ahead(positions, target.offset)
        return [Move(at, committed.get(at), min(found[at], positions[at]), positions[at]) for at in sorted(found)]

    @contextlib.contextmanager
    def intermission(self, note: audit.Note, on_waiting: Callable[[Sequence[str]], None]) -> Iterator[None]:
        """Keep the workers out of the group until the block ends; tells who is waited for when that changes.

        Raises `CannotReplay` when somebody else does that, and for members that do not leave.
        """
        intermission = self._intermission(note)
        if not intermission.acquire():
            raise ports.CannotReplay("another rewind keeps the workers out of the group; try again when it is done")
        try:
            self._wait_until_idle(intermission, on_waiting)
            _prolong(intermission)
            yield
        finally:
            with contextlib.suppress(service_ports.Retryable):  # it ends by itself
                intermission.release()

    def check_idle(self) -> None:
        """Raise `MembersActive` while the group has members."""
        if names := self._names():
            raise ports.MembersActive(names)

    def rewind(self, moves: Sequence[Move], note: audit.Note) -> None:
        """Move the group, then write the audit, which so tells of nothing that was not done; raises `MembersActive`."""
        self.check_idle()
        moved = [move for move in moves if move.is_one]
        if not moved:
            return
        self._group.move({move.at: move.target for move in moved})
        with self._begin() as uow:
            uow.write_audit(
                audit.Entry("replay.rewound", f"{move.at} from {move.committed} to {move.target}", note)
                for move in moved
            )
            uow.commit()

    def _wait_until_idle(self, intermission: ports.Intermission, on_waiting: Callable[[Sequence[str]], None]) -> None:
        told: Sequence[str] = ()
        deadline = time.monotonic() + PATIENCE_S
        while names := self._names():
            if time.monotonic() > deadline:
                raise ports.CannotReplay(
                    f"these have not left the group within {PATIENCE_S:.0f} s: {', '.join(names)}; they hang, or are "
                    "no workers of this version: stop them, and try again (the workers that have left come back)"
                )
            if names != told:
                on_waiting(names)
                told = names
            time.sleep(POLL_S)
            _prolong(intermission)

    def _names(self) -> Sequence[str]:
        return sorted(f"{member.name} on {member.host}" for member in self._group.members())


def _prolong(intermission: ports.Intermission) -> None:
    if not intermission.renew():
        raise ports.CannotReplay("another rewind has begun meanwhile, and keeps the workers out of the group")


def _check_not_ahead(positions: dict[ports.TopicPartition, int], offset: int) -> None:
    for at, position in positions.items():
        if offset > position:
            raise ports.CannotReplay(
                f"{at} is handled up to offset {position}, and a group's offset ahead of that changes nothing; "
                "`allocation replay skip` passes over records"
            )
