"""What a verification reads. All of it blocks, changes nothing, and may raise `DependencyDown`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from allocation.service_layer import messages
    from allocation.service_layer.operations.verify import snapshot

TopicPartition = tuple[str, int]
Progress = Callable[[str, int, int], None]  # what is read, how many records of it, of how many


class Bounds(NamedTuple):
    """A log as it is: its topic's id, the first offset that is there, and the one behind the last committed record.

    `hidden` offsets lie behind that: those of a transaction that does not end, and of all that came after it.
    """

    topic_id: str
    begin: int
    end: int
    hidden: int = 0


class Database(Protocol):
    """The database; each call is one transaction."""

    def read(self) -> snapshot.Snapshot:
        """Return everything as of one moment."""

    def later(self) -> snapshot.Later:
        """Return the counters as of now."""


class Logs(Protocol):
    """The topics, as a `read_committed` consumer sees them."""

    def bounds(self, names: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        """Return the bounds of all partitions of these topics; waits for transactions that are just ending."""

    def read(self, names: Sequence[str], *, until: Mapping[TopicPartition, int]) -> Iterator[messages.Record]:
        """Yield the records before these offsets, each partition in its order; a partition not named: to its end."""
