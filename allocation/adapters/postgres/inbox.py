"""What became of each message, by its identity; keeps a second handling from happening."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.adapters.postgres import arrays
from allocation.service_layer import messages, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from allocation.adapters.postgres import reads, writes

_COLUMNS = (
    "id", "source", "attempt", "digest", "outcome", "topic", "partition", "offset", "result", "reason", "error",
)  # fmt: skip
# By id alone, which is nearly always that of one sender only: for a join with pairs, the planner reads the whole table.
_READ = """
SELECT id, source, attempt, digest, outcome, topic, partition, "offset", result, reason, error
FROM inbox WHERE id = ANY(%s::text[])
"""
_REPLACE = """
UPDATE inbox AS i SET attempt = v.attempt, digest = v.digest, outcome = v.outcome, topic = v.topic,
    partition = v.partition, "offset" = v."offset", result = v.result, reason = v.reason, error = v.error,
    handled_at = now()
FROM unnest(
    %s::text[], %s::text[], %s::int[], %s::bytea[], %s::text[], %s::text[], %s::int[], %s::bigint[],
    %s::text[], %s::text[], %s::text[]
) AS v (id, source, attempt, digest, outcome, topic, partition, "offset", result, reason, error)
WHERE i.id = v.id AND i.source = v.source
"""


class Inbox:
    """The entries that one unit of work has read and written."""

    def __init__(self) -> None:
        self._stored: dict[messages.MessageId, unit_of_work.InboxEntry] = {}
        self._written: dict[messages.MessageId, unit_of_work.InboxEntry] = {}

    def read(self, asked: reads.Reads, ids: Sequence[messages.MessageId]) -> None:
        """Have the entries of these identities read."""
        asked.add(_READ, (arrays.texts([one.id for one in ids]),), columns=len(_COLUMNS), take=self._take)

    def get(self, id: messages.MessageId) -> unit_of_work.InboxEntry | None:  # noqa: A002 - CloudEvents' word
        """Return the entry, as written last."""
        return self._written.get(id) or self._stored.get(id)

    def record(self, entry: unit_of_work.InboxEntry) -> None:
        """Set the entry of its identity."""
        self._written[entry.id] = entry

    def flush(self, changes: writes.Writes) -> None:
        """Have written what was recorded; an identity that another transaction has written too fails as `Retryable`."""
        new = [entry for id_, entry in self._written.items() if id_ not in self._stored]
        if new:
            changes.insert("inbox", _COLUMNS, _columns(new))
        known = [entry for id_, entry in self._written.items() if id_ in self._stored]
        if known:
            otherwise = "an entry of the inbox grew too old and was pruned while it was in use"
            changes.change(_REPLACE, list(map(list, _columns(known))), rows=len(known), otherwise=otherwise)

    def _take(self, rows: reads.Rows) -> None:
        for id_, source, attempt, digest, *rest in rows:
            entry = unit_of_work.InboxEntry(messages.MessageId(source, id_), attempt, bytes(digest), *rest)
            self._stored[entry.id] = entry


def _columns(entries: Sequence[unit_of_work.InboxEntry]) -> Sequence[Sequence[object]]:
    """Return the values of `_COLUMNS`."""
    identities, *others = zip(*entries, strict=True)
    sources, ids = zip(*identities, strict=True)
    return [ids, sources, *others]
