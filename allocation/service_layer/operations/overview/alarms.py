"""What is wrong, each with the name of the part, queue or partition that it is wrong with.

Guards that a dead worker, a relay that stands still and a poisoned sku are named within five seconds of the
figures showing them: nothing here waits for more than `STILL_S`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from allocation.service_layer.operations.overview import presence, stillness

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from allocation.service_layer.operations import status
    from allocation.service_layer.operations.overview import figures

# Longer than a micro-batch may take (2 s); with a second until it is seen, and one until it is shown, below five.
STILL_S = 2.5
_NAMED = 3  # partitions in a sentence
# What its lease is called; whoever does without one is not told so for ever.
_BRIDGE = "bridge"
_MISSED_S = 600.0


class Alarm(NamedTuple):
    """One thing that is wrong: which, and how."""

    what: str
    text: str


class Watch:
    """Tells what is wrong, given what was seen; remembers what has not moved."""

    def __init__(self) -> None:
        self._positions = stillness.Stillness()
        self._passes = stillness.Stillness()
        self._presence = presence.Presence()
        self._owners: dict[str, str] = {}
        self._bridge_seen_s = 0.0

    def look(self, seen: figures.Seen, found: status.Status) -> list[Alarm]:
        """Return what is wrong now, that which explains the rest first."""
        still = self._positions.look(_positions(found.lags), at_s=seen.at_s)
        shards = seen.work.shards if seen.work is not None else ()
        resting = self._passes.look(
            (stillness.Watched(one.number, one.passes, bool(one.rows)) for one in shards), at_s=seen.at_s
        )
        return [
            *(Alarm(name, text) for name, text in found.problems.items()),
            *(Alarm(name, text) for name, text in seen.parts.items() if text),
            *self._gone(seen),
            *_workers(seen, found, still),
            *self._relays(seen.work, resting),
            *self._bridge(seen.work, at_s=seen.at_s),
            *_held_back(seen.work),
        ]

    def _gone(self, seen: figures.Seen) -> Iterator[Alarm]:
        if seen.work is None:
            return
        for name in self._presence.look(seen.work.workers, seen.members, at_s=seen.at_s):
            yield Alarm(
                "worker",
                f"{name} has lost its connection to the database: it was killed or stopped, or cannot reach it; its "
                "partitions wait until it is back, or Kafka gives them to another",
            )

    def _relays(self, work: figures.Work | None, resting: Mapping[Hashable, float]) -> Iterator[Alarm]:
        if work is None:
            return
        self._owners.update(work.database.owners)
        for shard in work.shards:
            waiting = _waiting(shard.rows, "row") + " in the outbox"
            if shard.oldest_age_s is not None:
                waiting += f", the oldest for {shard.oldest_age_s:.0f} s"
            if (owner := work.database.owners.get(shard.owner)) is None:
                last = self._owners.get(shard.owner)
                before = f"; {last} was it, and is dead or stopped" if last else ""
                yield Alarm(shard.owner, f"no relay is there{before}: {waiting}")
            elif resting.get(shard.number, 0.0) >= STILL_S:
                yield Alarm(shard.owner, f"{owner} is stuck: {waiting}, and no pass ends")

    def _bridge(self, work: figures.Work | None, *, at_s: float) -> Iterator[Alarm]:
        if work is None:
            return
        if _BRIDGE in work.database.owners:
            self._bridge_seen_s = at_s
        elif _BRIDGE in self._owners and at_s - self._bridge_seen_s <= _MISSED_S:
            yield Alarm(
                _BRIDGE,
                f"no bridge is there; {self._owners[_BRIDGE]} was it, and is dead or stopped: nothing comes from Redis "
                "or goes there, and no e-mail",
            )


def _positions(lags: Sequence[status.Lag]) -> Iterator[stillness.Watched]:
    for one in lags:
        yield stillness.Watched((one.topic, one.partition), one.position, bool(one.lag))


def _workers(seen: figures.Seen, found: status.Status, still: Mapping[Hashable, float]) -> Iterator[Alarm]:
    if seen.members == ():
        yield Alarm("worker", f"no worker is there; {_waiting(_lag(found.lags), 'command')}")
    standing = [one for one in found.lags if still.get((one.topic, one.partition), 0.0) >= STILL_S]
    if standing:
        longest = max(still[one.topic, one.partition] for one in standing)
        names = ", ".join(f"{one.topic}/{one.partition}" for one in standing[:_NAMED])
        more = f" and {len(standing) - _NAMED} more" if len(standing) > _NAMED else ""
        yield Alarm(
            "worker",
            f"nothing of {names}{more} was handled for {longest:.0f} s; {_waiting(_lag(standing), 'command')}: "
            "the worker of it is dead, stopped or held up",
        )


def _held_back(work: figures.Work | None) -> Iterator[Alarm]:
    if work is None:
        return
    for one in work.poisoned:
        yield Alarm(
            one.queue, f"command {one.id} is poisoned ({_reason(one)}); {_waiting(one.behind, 'command')} behind it"
        )
    if work.database.quarantined.rows:
        yield Alarm("outbox", f"Kafka refused {_count(work.database.quarantined.rows, 'row')}; see `allocation outbox`")


def _reason(one: figures.Poisoned) -> str:
    """Return the first line of an error, which may have many, with its class."""
    said = next(iter(one.error.splitlines()), "")
    return said if said.startswith(one.error_class) else f"{one.error_class}: {said}"


def _lag(lags: Sequence[status.Lag]) -> int:
    return sum(one.lag for one in lags)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _waiting(number: int, what: str) -> str:
    return f"{_count(number, what)} wait{'s' if number == 1 else ''}"
