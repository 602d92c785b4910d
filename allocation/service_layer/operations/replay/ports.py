"""What replaying needs of Kafka and the database. All of it blocks, and may raise `DependencyDown`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from allocation.service_layer import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from allocation.service_layer import unit_of_work
    from allocation.service_layer.operations import status
    from allocation.service_layer.operations.verify import ports as verify

    Progress = verify.Progress
    Positions = Callable[[], Mapping[messages.LogPartition, unit_of_work.Position]]

TopicPartition = messages.TopicPartition


class CannotReplay(Exception):
    """It cannot be done as things are; says why, and what helps."""


class MembersActive(CannotReplay):
    """Members of the group are at work: Kafka moves no offsets under their feet."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"the group has active members: {', '.join(names)}; --wait has workers leave it for as long as it takes; "
            "stop others (a static member is gone once its session has ended)"
        )


class Times(NamedTuple):
    """When the first record that is there, and the newest one, were sent; None in an empty log."""

    first: datetime | None
    newest: datetime | None


class Logs(Protocol):
    """The topics, as a `read_committed` consumer sees them."""

    def bounds(self, names: Sequence[str]) -> Mapping[TopicPartition, verify.Bounds]:
        """Return the bounds of all partitions of these topics; raises `KafkaRefused` for one that does not exist."""

    def times(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, Times]:
        """Return when the first and the newest record were sent."""

    def offsets_at(self, partitions: Collection[TopicPartition], moment: datetime) -> Mapping[TopicPartition, int]:
        """Return the offset of the first record not older than this; where there is none, it is not in the answer."""

    def between(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> Iterator[messages.Record]:
        """Yield what lies from the starts to before the ends, each partition in its order."""


class Group(Protocol):
    """The worker's consumer group."""

    def committed(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the group's offsets of these partitions, as far as it has any."""

    def members(self) -> Sequence[status.Member]:
        """Return who is in the group."""

    def move(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Set offsets of the group; raises `MembersActive` when Kafka does not do that because of its members."""


class Intermission(Protocol):
    """The right to keep all workers out of their group; it expires by the database's clock, and they come back."""

    def acquire(self) -> bool:
        """Begin, unless another has; tell whether it is ours."""

    def renew(self) -> bool:
        """Prolong it; False if another has begun one since."""

    def release(self) -> None:
        """End it if it is ours."""
