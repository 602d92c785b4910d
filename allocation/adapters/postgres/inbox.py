"""What became of each message, by its identity; keeps a second handling from happening."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocation.adapters.postgres import copying
from allocation.service_layer import messages, unit_of_work

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMNS = (
    "id", "source", "attempt", "digest", "outcome", "topic", "partition", "offset", "result", "reason", "error",
)  # fmt: skip
_READ = """
SELECT i.id, i.source, i.attempt, i.digest, i.outcome, i.topic, i.partition, i."offset", i.result, i.reason, i.error
FROM inbox AS i JOIN unnest(%s::text[], %s::text[]) AS wanted (id, source) USING (id, source)
"""
_REPLACE = """
UPDATE inbox SET attempt = %s, digest = %s, outcome = %s, topic = %s, partition = %s, "offset" = %s,
    result = %s, reason = %s, error = %s, handled_at = now()
WHERE id = %s AND source = %s
"""


class Inbox:
    """The entries that one unit of work has read and written."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self._entries: dict[messages.MessageId, unit_of_work.InboxEntry] = {}
        self._stored: set[messages.MessageId] = set()
        self._written: dict[messages.MessageId, None] = {}

    def load(self, ids: Sequence[messages.MessageId]) -> None:
        """Read the entries of these identities, in one statement."""
        self._cursor.execute(_READ, ([one.id for one in ids], [one.source for one in ids]))
        for id_, source, attempt, digest, *rest in self._cursor:
            entry = unit_of_work.InboxEntry(messages.MessageId(source, id_), attempt, bytes(digest), *rest)
            self._entries[entry.id] = entry
            self._stored.add(entry.id)

    def get(self, id: messages.MessageId) -> unit_of_work.InboxEntry | None:  # noqa: A002 - CloudEvents' word
        """Return the entry, as written last."""
        return self._entries.get(id)

    def record(self, entry: unit_of_work.InboxEntry) -> None:
        """Set the entry of its identity."""
        self._entries[entry.id] = entry
        self._written[entry.id] = None

    def flush(self) -> None:
        """Write what was recorded; a new identity that another transaction has written too fails as `Retryable`."""
        written = [self._entries[id_] for id_ in self._written]
        copying.copy_in(
            self._cursor, "inbox", _COLUMNS, [_row(entry) for entry in written if entry.id not in self._stored]
        )
        for entry in written:
            if entry.id in self._stored:
                self._cursor.execute(_REPLACE, (*_row(entry)[2:], entry.id.id, entry.id.source))


def _row(entry: unit_of_work.InboxEntry) -> tuple[object, ...]:
    return (
        entry.id.id, entry.id.source, entry.attempt, entry.digest, entry.outcome, entry.topic, entry.partition,
        entry.offset, entry.result, entry.reason, entry.error,
    )  # fmt: skip
