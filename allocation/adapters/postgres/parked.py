"""Commands that wait, and those that keep their place behind them; an order per queue.

A queue may be longer than what one transaction can take: of those that are gone through, the oldest are loaded, and
it is known where there is more.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import arrays, copying, parked_rows
from allocation.service_layer import messages, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from allocation.adapters.postgres import reads

_FIELDS = parked_rows.FIELDS
_OF_QUEUES = f"SELECT {_FIELDS} FROM parked WHERE queue = ANY(%s::text[]) ORDER BY id"  # noqa: S608 - constants
_HEADS_OF_QUEUES = f"""
SELECT {_FIELDS} FROM unnest(%s::text[]) AS wanted (name)
CROSS JOIN LATERAL (SELECT * FROM parked WHERE queue = wanted.name ORDER BY id LIMIT 1) AS head
"""  # noqa: S608 - constants
_OLDEST_OF_ALL = f"""
SELECT {_FIELDS} FROM unnest(%(queues)s::text[]) AS wanted (name)
CROSS JOIN LATERAL (SELECT * FROM parked WHERE queue = wanted.name ORDER BY id LIMIT %(limit)s) AS oldest
ORDER BY id LIMIT %(limit)s
"""  # noqa: S608 - constants
_LONGER = """
SELECT name FROM unnest(%s::text[]) AS wanted (name)
WHERE EXISTS (SELECT FROM parked WHERE queue = wanted.name AND id > %s)
"""
_BARRED = """
SELECT queue FROM releases WHERE queue = ANY(%(queues)s::text[])
UNION ALL SELECT queue FROM parked WHERE queue = ANY(%(queues)s::text[]) AND state = 'poisoned'
"""
_OLDEST_OF_EACH = f"""
SELECT {_FIELDS} FROM parked WHERE id IN (
    SELECT oldest.id FROM unnest(%(queues)s::text[]) AS wanted (name)
    CROSS JOIN LATERAL (SELECT id FROM parked WHERE queue = wanted.name ORDER BY id LIMIT %(limit)s) AS oldest
    UNION SELECT landmark.id FROM unnest(%(queues)s::text[]) AS wanted (name) CROSS JOIN LATERAL (
        SELECT id FROM parked WHERE queue = wanted.name AND {parked_rows.LANDMARK} ORDER BY queue, id LIMIT 1
    ) AS landmark
    UNION SELECT id FROM parked WHERE id = ANY(%(ids)s::bigint[]) AND queue = ANY(%(queues)s::text[])
) ORDER BY id
"""  # noqa: S608 - constants
_NAMING = "SELECT DISTINCT batchref, queue FROM parked WHERE batchref = ANY(%s::text[])"
_REMOVE = "DELETE FROM parked WHERE id = ANY(%s::bigint[])"
_MOVE = "UPDATE parked SET queue = %s WHERE queue = %s"
_REPARK = """
UPDATE parked SET state = %s, reason = %s, error = %s, error_class = %s, stack = %s, expires_at = %s WHERE id = %s
"""
_RELEASE_LATER = "INSERT INTO releases (queue) SELECT * FROM unnest(%s::text[]) ON CONFLICT DO NOTHING"
_RELEASE_ENDED = "DELETE FROM releases WHERE queue = ANY(%s::text[])"

_first = operator.itemgetter(0)  # a row's id, or a place in the order


class Parked:
    """The queues that one unit of work has claimed."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._queues: dict[str, dict[int, unit_of_work.ParkedCommand]] = {}  # by the order in which they came
        self._places: dict[tuple[messages.LogPartition, int], int] = {}  # of each record in that order
        self._naming: dict[str, Counter[str]] = defaultdict(Counter)  # queues by the batch that their commands name
        self._stored_naming: dict[str, set[str]] = defaultdict(set)  # the same, of all that is stored
        self._whole: set[str] = set()  # loaded to their ends
        self._longer: set[str] = set()
        self._barred: set[str] = set()
        self._added: dict[int, unit_of_work.ParkedCommand] = {}
        self._removed: list[int] = []
        self._moved: list[tuple[str, str]] = []
        self._queue_now: dict[int, str] = {}  # of places whose queue was moved
        self._reparked: list[unit_of_work.ParkedCommand] = []
        self._later: set[str] = set()
        self._ended: set[str] = set()
        self._next_place = itertools.count()

    def find_naming(self, batchrefs: Collection[str]) -> set[str]:
        """Read which queues hold a command for one of these batches, and return their names."""
        self._cursor.execute(_NAMING, (arrays.texts(batchrefs),))
        for batchref, queue in self._cursor:
            self._stored_naming[batchref].add(queue)
        return set().union(*self._stored_naming.values())

    def load(self, queues: Collection[str]) -> Sequence[messages.Message]:
        """Read all that is parked in these queues; return the messages."""
        self._whole.update(queues)
        return self._load(_OF_QUEUES, (arrays.texts(queues),)) if queues else ()

    def read_heads(self, asked: reads.Reads, queues: Collection[str]) -> Sequence[messages.Message]:
        """Have the oldest of what is parked in each of these queues read; return where the messages will be."""
        heads: list[messages.Message] = []
        if queues:
            asked.add(
                _HEADS_OF_QUEUES,
                (arrays.texts(queues),),
                columns=len(parked_rows.COLUMNS) + 1,
                take=lambda rows: heads.extend(self._take(map(parked_rows.load, sorted(rows, key=_first)))),
            )
        return heads

    def load_oldest_of_all(self, queues: Collection[str]) -> Sequence[messages.Message]:
        """Read the oldest of what is parked in these queues taken together, and where there is more; see `claim`."""
        if not queues:
            return ()
        given = arrays.texts(queues)
        self._cursor.execute(_BARRED, {"queues": given})
        self._barred.update(queue for (queue,) in self._cursor)
        found = self._load(_OLDEST_OF_ALL, {"queues": given, "limit": unit_of_work.QUEUE_CHUNK})
        if len(found) == unit_of_work.QUEUE_CHUNK:
            newest = max(parked.id or 0 for parked in self.of(queues))
            self._cursor.execute(_LONGER, (given, newest))
            self._longer.update(queue for (queue,) in self._cursor)
        self._whole.update(set(queues) - self._longer)
        return found

    def load_oldest_of_each(
        self, queues: Collection[str], ids: Collection[int], *, at_most: int | None
    ) -> Sequence[messages.Message]:
        """Read an equal share of the oldest of each queue, its first landmark and these ids; see `claim`."""
        share = unit_of_work.share_of_each(queues, at_most=at_most)
        found = self._load(
            _OLDEST_OF_EACH, {"queues": arrays.texts(queues), "limit": share, "ids": arrays.numbers(ids)}
        )
        self._longer.update(queue for queue in queues if len(self._queues.get(queue, ())) >= share)
        self._whole.update(set(queues) - self._longer)
        return found

    def _load(self, statement: str, given: Any) -> list[messages.Message]:
        return self._take(parked_rows.read(self._cursor, statement, given))

    def _take(self, found: Iterable[unit_of_work.ParkedCommand]) -> list[messages.Message]:
        taken = []
        for parked in found:
            self._append(parked)
            taken.append(parked.message)
        return taken

    def of(self, queues: Collection[str]) -> Sequence[unit_of_work.ParkedCommand]:
        """Return what is loaded of these queues, the oldest first."""
        if not self._queues:
            return ()
        found = [one for queue in queues for one in self._queues.get(queue, {}).items()]
        if len(queues) > 1:
            found.sort(key=_first)
        return [parked for _, parked in found]

    def is_occupied(self, queue: str) -> bool:
        """Tell whether anything is parked in this queue."""
        return queue in self._queues or queue in self._longer

    def has_more(self, queue: str) -> bool:
        """Tell whether there may be more in this queue than was loaded."""
        return queue in self._longer

    def bars_batches(self, queue: str) -> bool:
        """Tell whether a new batch must stand behind this queue."""
        return queue in self._barred or any(parked.state == "poisoned" for parked in self.of((queue,)))

    def queues_naming(self, batchref: str) -> Collection[str]:
        """Return the queues that hold a command for this batch."""
        loaded = (+self._naming[batchref]).keys() if batchref in self._naming else set()
        return loaded | (self._stored_naming.get(batchref, set()) - self._whole)

    def add(self, parked: unit_of_work.ParkedCommand) -> None:
        """Put a command at the end of its queue."""
        self._added[self._append(parked)] = parked

    def remove(self, parked: unit_of_work.ParkedCommand) -> None:
        """Take a command out."""
        place = self._take_out(parked)
        if parked.id is None:
            del self._added[place]
        else:
            self._removed.append(parked.id)

    def repark(self, parked: unit_of_work.ParkedCommand) -> None:
        """Put a command in the place of the same one, as it was."""
        place = self._places[_coordinates(parked)]
        self._queues[self._queue_now.get(place, parked.queue)][place] = parked
        if parked.id is None:
            self._added[place] = parked
        else:
            self._reparked.append(parked)

    def move_queue(self, queue: str, *, to: str) -> None:
        """Put all of a queue into another, loaded or not."""
        stored = [queues for queues in self._stored_naming.values() if queue in queues]
        for queues in stored:
            queues.remove(queue)
            queues.add(to)
        if stored:
            self._moved.append((to, queue))
            if queue not in self._whole:
                self._longer.add(to)
        loaded = self._queues.pop(queue, {})
        if loaded:
            moved = {place: self._renamed(place, parked, to) for place, parked in loaded.items()}
            self._queues[to] = dict(sorted({**self._queues.get(to, {}), **moved}.items()))

    def release_later(self, queues: Collection[str]) -> None:
        """Note that these queues can be gone through further."""
        self._later.update(queues)
        self._barred.update(queues)

    def release_ended(self, queues: Collection[str]) -> None:
        """Note that these cannot."""
        self._ended.update(queues)

    def flush(self) -> None:
        """Write what was changed."""
        if self._removed:
            self._cursor.execute(_REMOVE, (arrays.numbers(self._removed),))
        for move in self._moved:
            self._cursor.execute(_MOVE, move)
        for one in self._reparked:
            given = (one.state, one.reason, one.error, one.error_class, one.stack, one.expires_at, one.id)
            self._cursor.execute(_REPARK, given)
        rows = [parked_rows.dump(parked) for parked in self._added.values()]
        copying.copy_in(self._cursor, "parked", parked_rows.COLUMNS, rows)
        if self._ended - self._later:
            self._cursor.execute(_RELEASE_ENDED, (arrays.texts(self._ended - self._later),))
        if self._later:
            self._cursor.execute(_RELEASE_LATER, (arrays.texts(self._later),))

    def _append(self, parked: unit_of_work.ParkedCommand) -> int:
        place = self._places[_coordinates(parked)] = next(self._next_place)
        self._queues.setdefault(parked.queue, {})[place] = parked
        self._name(parked, 1)
        return place

    def _renamed(self, place: int, parked: unit_of_work.ParkedCommand, queue: str) -> unit_of_work.ParkedCommand:
        moved = dataclasses.replace(parked, queue=queue)
        self._queue_now[place] = queue
        self._name(parked, -1)
        self._name(moved, 1)
        if place in self._added:
            self._added[place] = moved
        return moved

    def _take_out(self, parked: unit_of_work.ParkedCommand) -> int:
        place = self._places.pop(_coordinates(parked))
        name = self._queue_now.get(place, parked.queue)
        queue = self._queues[name]
        self._name(queue.pop(place), -1)
        if not queue:
            del self._queues[name]
        return place

    def _name(self, parked: unit_of_work.ParkedCommand, count: int) -> None:
        batchref = parked_rows.batchref(parked.message)
        if batchref is not None:
            self._naming[batchref][parked.queue] += count


def _coordinates(parked: unit_of_work.ParkedCommand) -> tuple[messages.LogPartition, int]:
    record = parked.message.record
    return record.log, record.offset
