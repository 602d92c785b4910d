"""Move the group's offsets back, so that workers read what lies there again.

Reading again is all that follows: a worker goes back to the group's offset when that is behind its
position, and skips what lies below the position, since the database has it. So no offset, however
wrong, repeats or loses anything; what a restored database lacks lies above its position already.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allocation.service_layer import messages
from allocation.service_layer.operations import audit
from allocation.service_layer.operations.replay import ports, targets

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from allocation.service_layer.operations import status

POLL_S = 0.5  # how soon it is noticed that the last member has left


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
    ) -> None:
        self._logs = logs
        self._group = group
        self._positions = positions
        self._begin = begin

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

    def wait_until_idle(self, on_waiting: Callable[[Sequence[status.Member]], None]) -> None:
        """Wait until no member is left, and tell who is waited for when that changes."""
        told: Sequence[status.Member] = ()
        while members := self._group.members():
            if members != told:
                on_waiting(members)
                told = members
            time.sleep(POLL_S)

    def check_idle(self) -> None:
        """Raise `MembersActive` while the group has members."""
        members = self._group.members()
        if members:
            raise ports.MembersActive([f"{member.name} on {member.host}" for member in members])

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


def _check_not_ahead(positions: dict[ports.TopicPartition, int], offset: int) -> None:
    for at, position in positions.items():
        if offset > position:
            raise ports.CannotReplay(
                f"{at} is handled up to offset {position}, and a group's offset ahead of that changes nothing; "
                "`allocation replay skip` passes over records"
            )
