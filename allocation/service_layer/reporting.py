"""What one unit of work did, for whoever counts, logs or brakes: put together once, and from what is kept anyway."""

from __future__ import annotations

import itertools
import operator
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from allocation.service_layer import external_events, failures, journaling, messages, refusals, settling

_topic_of: Callable[[messages.Record], str] = operator.attrgetter("topic")
_topic_of_message: Callable[[messages.Message], str] = operator.attrgetter("record.topic")


class Announced(NamedTuple):
    """Events of a type, caused by commands of a type; both as their records are called."""

    event: str
    cause: str


@dataclass(frozen=True, slots=True)
class Report:
    """What one unit of work did: what became of messages, which were refused or poisoned, the events published."""

    fates: Mapping[journaling.Fate, int] = field(default_factory=dict)
    announced: Mapping[Announced, int] = field(default_factory=dict)
    repeated: Mapping[str, int] = field(default_factory=dict)
    """Messages below the position, which were skipped, by topic."""
    refusals: Sequence[refusals.Refusal] = ()
    poisoned: Sequence[failures.Poisoned] = ()
    handling_s: Mapping[str, float] = field(default_factory=dict)
    """Of the time that it took, what was spent on the messages of one topic alone, by topic."""

    @property
    def outcomes(self) -> Mapping[str, int]:
        """How many messages became what, whatever their topic."""
        return words(self.fates)

    @property
    def events(self) -> int:
        """How many events were published."""
        return sum(self.announced.values())


def of(
    batch: settling.MicroBatch,
    *,
    repeated: Mapping[str, int] = MappingProxyType({}),
    handling_s: Mapping[str, float] = MappingProxyType({}),
) -> Report:
    """Return what a micro-batch did that is committed."""
    return Report(batch.fates, _counted(batch.announced), repeated, batch.refusals, batch.poisoned, handling_s)


def words(fates: Mapping[journaling.Fate, int]) -> Mapping[str, int]:
    """Add up over all topics."""
    counts: Counter[str] = Counter()
    for fate, count in fates.items():
        counts[fate.what] += count
    return counts


def timed(unsettled: Iterable[messages.Message], settle: Callable[[messages.Message], object]) -> Mapping[str, float]:
    """Settle these, and return the seconds that each topic took; the clock is read once for each run of one topic."""
    took_s: dict[str, float] = defaultdict(float)
    began = time.perf_counter()
    for topic, run in itertools.groupby(unsettled, key=_topic_of_message):
        for message in run:
            settle(message)
        ended = time.perf_counter()
        took_s[topic] += ended - began
        began = ended
    return took_s


def repeated(records: Sequence[messages.Record], fresh: Sequence[messages.Record]) -> Mapping[str, int]:
    """Return how many of these records of each topic are not fresh."""
    if len(records) == len(fresh):
        return {}
    return Counter(map(_topic_of, records)) - Counter(map(_topic_of, fresh))


def _counted(announced: Mapping[type, Sequence[external_events.ExternalEvent]]) -> Mapping[Announced, int]:
    return {
        Announced(kind.__name__, cause.__name__): count
        for cause, events in announced.items()
        for kind, count in Counter(map(type, events)).items()
    }
