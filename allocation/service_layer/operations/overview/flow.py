"""How fast things go from the topics to the events: rates and their last two minutes, from what is seen each second.

The one source of these numbers for the console and `allocation top`; the standing ones are those of `status`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from allocation.service_layer.operations import status
from allocation.service_layer.operations.overview import alarms, lately

if TYPE_CHECKING:
    from collections.abc import Mapping, Reversible, Sequence

    from allocation.service_layer.operations.overview import figures

KEPT = 120  # looks; two minutes
_RATE_OVER = 4  # looks: short enough to follow, long enough not to flicker

Numbers = dict[str, float | None]

# What grows, and what is more or less at a moment.
COUNTERS = ("arrived", "handled", "written", "sent")
LEVELS = ("lag", "outbox", "parked")


class _Sample(NamedTuple):
    at_s: float
    counters: Mapping[str, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """All that is to be shown at one moment.

    `rates` are by second, `levels` as of now, None where something does not answer; `series` has both of the last
    looks, the oldest first. `topics` tells by topic of events its offsets and its rate, `arrivals`
    by topic of commands its rate, `lately` what was wrong before.
    """

    seen: figures.Seen
    status: status.Status
    alarms: Sequence[alarms.Alarm]
    lately: Sequence[lately.Past]
    rates: Numbers
    levels: Numbers
    series: Mapping[str, Sequence[float | None]]
    topics: Mapping[str, tuple[int, float | None]]
    arrivals: Numbers


class Recorder:
    """Makes overviews of what is seen, one after the other; belongs to one thread."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=_RATE_OVER)
        self._series: dict[str, deque[float | None]] = {
            name: deque(maxlen=KEPT) for name in (*COUNTERS, "announced", *LEVELS)
        }
        self._announced: deque[_Sample] = deque(maxlen=_RATE_OVER)
        self._stock: figures.Stock | None = None
        self._watch = alarms.Watch()
        self._lately = lately.Lately()

    def add(self, seen: figures.Seen) -> Overview:
        """Return the overview with this as the newest."""
        found = _status(seen)
        events = {} if seen.logs is None else seen.logs.events
        ends = _ends(seen)
        self._samples.append(_Sample(seen.at_s, {**_counters(seen, found), **events, **ends}))
        self._count(seen)
        rates: Numbers = {name: self._rate(name) for name in COUNTERS} | {
            "announced": _rate(self._announced, "announced")
        }
        levels = _levels(found)
        for name, value in (rates | levels).items():
            self._series[name].append(value)
        wrong = self._watch.look(seen, found)
        return Overview(
            seen=seen,
            status=found,
            alarms=wrong,
            lately=self._lately.look(wrong, time=seen.time),
            rates=rates,
            levels=levels,
            series={name: tuple(values) for name, values in self._series.items()},
            topics={topic: (offsets, self._rate(topic)) for topic, offsets in events.items()},
            arrivals={topic: self._rate(topic) for topic in ends},
        )

    def _count(self, seen: figures.Seen) -> None:
        """Note how many events are announced, as often as that is known anew: in a large stock not at each look."""
        if seen.stock is None:
            self._announced.clear()
        elif seen.stock is not self._stock:
            self._announced.append(_Sample(seen.at_s, {"announced": seen.stock.announced}))
        self._stock = seen.stock

    def _rate(self, name: str) -> float | None:
        return _rate(self._samples, name)


def _rate(samples: Reversible[_Sample], name: str) -> float | None:
    """Return by how much it grew each second; a gap in what is known ends the time that counts."""
    known: list[tuple[float, int]] = []
    for sample in reversed(samples):
        value = sample.counters.get(name)
        if value is None:
            break
        known.append((sample.at_s, value))
    if len(known) < 2:  # noqa: PLR2004 - the two ends of a time
        return None
    (newest_s, newest), (oldest_s, oldest) = known[0], known[-1]
    return max(newest - oldest, 0) / (newest_s - oldest_s)


def _status(seen: figures.Seen) -> status.Status:
    problems = dict(seen.problems)
    logs, kafka = seen.logs, None
    if logs is not None:
        kafka = status.KafkaFigures(
            cluster_id=seen.cluster_id or "",
            partitions=logs.partitions,
            missing_topics=logs.missing_topics,
            dead_letters=logs.dead_letters,
            members=seen.members or (),
        )
        if logs.missing_topics:
            problems["topics"] = status.missing(logs.missing_topics)
    return status.Status(problems, kafka, None if seen.work is None else seen.work.database)


def _ends(seen: figures.Seen) -> dict[str, int]:
    ends: dict[str, int] = {}
    for one in seen.logs.partitions if seen.logs is not None else ():
        ends[one.topic] = ends.get(one.topic, 0) + one.end
    return ends


def _counters(seen: figures.Seen, found: status.Status) -> dict[str, int | None]:
    logs, work, lags = seen.logs, seen.work, found.lags
    waiting = None if work is None else work.database.outbox.rows + work.database.quarantined.rows
    return {
        "arrived": None if logs is None else sum(one.end for one in logs.partitions),
        "handled": sum(one.position for one in lags) if lags else None,
        "written": None if work is None else work.written,
        "sent": None if work is None or waiting is None else work.written - waiting,
    }


def _levels(found: status.Status) -> Numbers:
    database = found.database
    return {
        "lag": sum(one.lag for one in found.lags) if found.lags else None,
        "outbox": None if database is None else database.outbox.rows,
        "parked": None if database is None else sum(one.rows for one in database.parked.values()),
    }
