"""The guarantees, each as a function that returns what violates it.

They look at what lies in topics and tables only, and each is meant to see one kind of fault by itself,
so that a broken variant of the service is caught under the right name.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from tests.chaos.oracle import log as logs
from tests.chaos.oracle import model, replay
from tests.chaos.oracle.observation import At, Identity, Observation, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_SEEN_FIRST = frozenset({"handled", "duplicate", "refused", "waited", "queued", "poisoned"})


def settled_once(seen: Observation) -> Iterator[str]:
    """Every command of the log was taken from it exactly once, says the journal."""
    times: Counter[At] = Counter()
    for entry in seen.journal:
        if entry.what in _SEEN_FIRST:
            times.update(at for at in _run(entry) if at in seen.commands)
    for at in seen.commands:
        if times[at] != 1:
            yield f"{_where(at)} was settled {times[at]} times"


def handled_or_dead_lettered(seen: Observation) -> Iterator[str]:
    """Every command was handled, or is a dead letter: never both, never neither; what came twice counts once."""
    dead = Counter(_origin(letter, seen) for letter in seen.dead_letters)
    for at in dead.keys() - seen.commands.keys():
        if not at[0].startswith("redis:"):
            yield f"a dead letter says that it came from {_where(at)}, where nothing is"
    groups: dict[Identity, list[logs.Record]] = defaultdict(list)
    for record in seen.commands.values():
        groups[seen.identity(record)].append(record)
    for identity, records in groups.items():
        yield from _fate_of(identity, records, seen, dead)
    for identity in seen.fates.keys() - groups.keys():
        yield f"the inbox knows {identity}, which nobody has sent"


def _fate_of(identity: Identity, records: list[logs.Record], seen: Observation, dead: Counter[At]) -> Iterator[str]:
    fate = seen.fates.get(identity)
    winner = None if fate is None else seen.commands.get(fate.at)
    if fate is None or winner is None or fate.outcome not in ("handled", "refused"):
        yield f"{identity} was neither handled nor refused: {fate}"
        return
    for record in records:
        # Beside the winner there is the same once more, or another one with the same id.
        is_refused = fate.outcome == "refused" if record is winner else _content(record) != _content(winner)
        expected = int(is_refused)
        if dead[record.at] != expected:
            yield f"{_where(record.at)} ({identity}, {fate.outcome}) has {dead[record.at]} dead letters, not {expected}"


def dead_letters_are_originals(seen: Observation) -> Iterator[str]:
    """A dead letter is the message as it came, and says why."""
    for letter in seen.dead_letters:
        original = seen.commands.get(_origin(letter, seen))
        if original is None:
            continue
        added = [name for name, _ in letter.headers[len(original.headers) :]]
        kept = (letter.key, letter.value, letter.headers[: len(original.headers)])
        if kept != (original.key, original.value, original.headers) or "dead_letter_reason" not in added:
            yield f"the dead letter of {_where(original.at)} is not what came: {letter}"


def events_once(seen: Observation) -> Iterator[str]:
    """No event was published twice."""
    for event_id, count in Counter(event.header("ce_id") for event in seen.events).items():
        if count != 1:
            yield f"event {event_id!r} was published {count} times"


def events_in_order(seen: Observation) -> Iterator[str]:
    """The events of a sku are numbered from 1 without a gap, and stand in this order in one partition of each topic."""
    numbers: dict[bytes | None, list[int]] = defaultdict(list)
    partitions: dict[tuple[str, bytes | None], set[int]] = defaultdict(set)
    last: dict[Any, int] = {}
    for event in seen.events:
        number, place = replay.sequence(event), (event.topic, event.partition, event.key)
        numbers[event.key].append(number)
        partitions[event.topic, event.key].add(event.partition)
        if number <= last.get(place, 0):
            yield f"{_where(event.at)}: event {number} of {event.key!r} stands behind {last[place]}"
        last[place] = number
    for (topic, sku), places in partitions.items():
        if len(places) > 1:
            yield f"the events of {sku!r} lie in partitions {sorted(places)} of {topic}"
    for sku, found in numbers.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            gaps = sorted(set(range(1, max(found) + 1)) - set(found))
            yield f"the events of {sku!r} are not numbered 1 to {len(found)}: missing {gaps[:10]}"


def events_have_causes(seen: Observation) -> Iterator[str]:
    """Every event names a command of the log."""
    known = {seen.identity(record)[1].encode() for record in seen.commands.values()}
    for event in seen.events:
        if event.header("ce_causationid") not in known:
            yield f"{_where(event.at)} names {event.header('ce_causationid')!r}, which nobody has sent"


def events_give_allocations(seen: Observation) -> Iterator[str]:
    """Played in order, the events give precisely the order lines of the database."""
    stands: dict[model.Line, str] = {}
    for happened in replay.published(seen):
        yield from _play(happened, stands)
    stored = {line: batchref for line, (batchref, _) in seen.lines.items()}
    for line in sorted(stands.items() ^ stored.items()):
        yield f"{line} stands in the {'events' if stands.get(line[0]) == line[1] else 'database'} alone"


def _play(happened: model.Happened, stands: dict[model.Line, str]) -> Iterator[str]:
    line, batchref = happened.line, happened.batchref
    if happened.topic == "line_deallocated":
        if stands.pop(line, None) != batchref:
            yield f"{line} left {batchref}, where it was not"
    elif line in stands:
        yield f"{happened} happened to a line that was in {stands[line]}"
    elif batchref is not None:
        stands[line] = batchref


def stock_adds_up(seen: Observation) -> Iterator[str]:
    """What a batch has promised is the sum of its lines, and never more than was bought."""
    sums: Counter[str] = Counter()
    places: dict[str, list[int]] = defaultdict(list)
    for line, (batchref, place) in seen.lines.items():
        sums[batchref] += line.qty
        places[batchref].append(place)
    for ref, batch in seen.batches.items():
        if batch.allocated != sums[ref]:
            yield f"{ref} has promised {batch.allocated}, its lines hold {sums[ref]}"
        if not 0 <= sums[ref] <= batch.purchased:
            yield f"{ref} is oversold: {sums[ref]} of {batch.purchased}"
        if sorted(places[ref]) != list(range(batch.line_count)):
            yield f"the lines of {ref} are not numbered 0 to {batch.line_count - 1}"
    for ref in sums.keys() - seen.batches.keys():
        yield f"lines stand in batch {ref}, which is not there"


def nothing_left_over(seen: Observation) -> Iterator[str]:
    """Nobody waits for anything any more."""
    if seen.unsent:
        yield f"{seen.unsent} rows of the outbox were not sent"
    for queue, state, at in seen.parked:
        yield f"{_where(at)} is still {state} in {queue}"


def nothing_hidden(seen: Observation) -> Iterator[str]:
    """No transaction was left open, behind which readers of what is committed would wait for ever."""
    for (topic, partition), (visible, end) in seen.hidden.items():
        yield f"{topic}/{partition} ends at {end}, and an open transaction hides all from {visible} on"


def journal_is_complete(seen: Observation) -> Iterator[str]:
    """The journal's topic has the rows of its table, once each and in their order."""
    stored = [number for number, _ in seen.stored_journal]
    if sorted(seen.journal_numbers) != stored:
        odd = (Counter(seen.journal_numbers) - Counter(stored)) + (Counter(stored) - Counter(seen.journal_numbers))
        yield f"rows of the journal that are not both in table and topic once: {sorted(odd)[:10]}"


def model_agrees(seen: Observation) -> Iterator[str]:
    """Handling the log's commands in the journal's order, by another implementation, gives the same everything."""
    return replay.differences(seen)


CHECKS: tuple[Callable[[Observation], Iterable[str]], ...] = (
    settled_once,
    handled_or_dead_lettered,
    dead_letters_are_originals,
    events_once,
    events_in_order,
    events_have_causes,
    events_give_allocations,
    stock_adds_up,
    nothing_left_over,
    nothing_hidden,
    journal_is_complete,
    model_agrees,
)


def violations(seen: Observation) -> list[Violation]:
    """Return all that is wrong."""
    return [Violation(check.__name__, text) for check in CHECKS for text in check(seen)]


def _run(entry: Any) -> Iterator[At]:
    return ((entry.topic, entry.partition, offset) for offset in range(entry.first, entry.last + 1))


def _content(record: logs.Record) -> tuple[str, bytes]:
    return (record.topic, (record.value or b"")[5:])


def _origin(letter: logs.Record, seen: Observation) -> At:
    topic, partition, offset = (
        letter.header(f"dead_letter_{name}") or b"" for name in ("topic", "partition", "offset")
    )
    return (topic.decode().removeprefix(seen.prefix), int(partition), int(offset))


def _where(at: At) -> str:
    return "{}/{}/{}".format(*at)
