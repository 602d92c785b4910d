"""Let a database that was restored from a back-up catch up with what its topics say that it had done.

The topics are ahead: commands were handled, and events published, of which the database knows nothing. What it
lacks is done again in the journal's order, so that the same events come of it; those that are on their topics
already are not sent again, the others are. Then a new incarnation of the database begins.

The invariant: until all of that is done the relay stays stopped, since its passes are behind those of its
checkpoint, and no worker starts, since the journal's topic is ahead. So it can be begun again after any error.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from allocation.service_layer import messages
from allocation.service_layer.operations import audit
from allocation.service_layer.operations.replay import journal_order, ports
from allocation.service_layer.operations.replay import rebuilding_ports as rebuilding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from allocation.service_layer.operations.replay import rebuilding as operation

_PLACE = ("dead_letter_topic_id", "dead_letter_topic", "dead_letter_partition", "dead_letter_offset")
_DEAD_LETTER = (*_PLACE, "dead_letter_attempt")
_CLOUD_EVENT = (messages.CE_SOURCE, messages.CE_ID, messages.ATTEMPT, messages.RESENT)
_DIGEST_BYTES = 16  # millions are kept in memory; two that are equal by chance are not to be expected


class Waiting(NamedTuple):
    """A row of the outbox: its number, and what it is known by."""

    id: int
    topic: str
    identity: bytes


class Restored(NamedTuple):
    """What was done, or is to be: micro-batches and commands, messages sent before, messages that are sent now."""

    rows: int
    records: int
    known: int
    unsent: int


class Database(rebuilding.Target, Protocol):
    """The restored database; each call is a transaction."""

    def check_unused(self) -> None:
        """Raise `CannotReplay` while somebody else works with it."""

    def journal(self) -> Mapping[int, journal_order.Row]:
        """Return the journal's rows by number."""

    def outbox(self) -> Sequence[Waiting]:
        """Return what is in the outbox."""

    def delete(self, ids: Collection[int]) -> None:
        """Delete rows of the outbox."""

    def begin_incarnation(self, entry: audit.Entry, *, over: Collection[str]) -> None:
        """Begin a new incarnation, and write that into the audit.

        The ones before that it does not know of are `over` as well.
        """


class Topics(Protocol):
    """What lies on the topics, once no relay can send any more."""

    def fenced(self) -> AbstractContextManager[Collection[str]]:
        """Fence the relay off until the block ends, and settle what it had left open.

        Gives the incarnations of the last checkpoints.
        """

    def identities(self, names: Collection[str], on_progress: rebuilding.Progress) -> Iterator[bytes]:
        """Yield what the messages on these topics are known by."""


class Unannounced:
    """An `Outbound` that sends what is not on its topic yet."""

    def __init__(self, known: Collection[bytes]) -> None:
        self._known = known
        self.suppressed = 0
        self.sent = 0

    def before_commit(self, outgoing: Sequence[messages.OutboxMessage]) -> Iterable[messages.OutboxMessage]:
        """Return what is new."""
        new = [one for one in outgoing if identity(one.topic, one.key, one.headers) not in self._known]
        self.sent += len(new)
        self.suppressed += len(outgoing) - len(new)
        return new

    def after_commit(self, outgoing: Sequence[messages.OutboxMessage]) -> None:
        """Do nothing: the relay sends it."""


class OpenRebuild(Protocol):
    """Opens what does rows of the journal again, in the restored database."""

    def __call__(self, outbound: rebuilding.Outbound) -> AbstractContextManager[operation.Rebuild]:
        """Return it."""


class Restore:
    """Restores one installation; nobody else may work with its database meanwhile."""

    def __init__(
        self,
        *,
        database: Database,
        journal: rebuilding.Journal,
        topics: Topics,
        event_topics: Collection[str],
        open_rebuild: OpenRebuild,
    ) -> None:
        self._database = database
        self._journal = journal
        self._topics = topics
        self._event_topics = event_topics
        self._open_rebuild = open_rebuild

    def run(self, note: audit.Note, *, dry_run: bool, on_progress: rebuilding.Progress) -> Restored:
        """Do what the database lacks, and take out of the outbox what was sent. Raises `CannotReplay`, `Retryable`.

        It may lack nothing but passes of the relay, or an incarnation that was to begin when this was cut short.
        """
        self._database.check_unused()
        with self._topics.fenced() as lives:
            lacking = self._lacking(on_progress)
            waiting = self._database.outbox()
            names = {*self._event_topics, *(one.topic for one in waiting)}
            known = frozenset(self._topics.identities(names, on_progress))
            sent = [one.id for one in waiting if one.identity in known]
            records = sum(row.size for row in lacking)
            if dry_run:
                return Restored(len(lacking), records, len(sent), len(waiting) - len(sent))
            self._database.delete(sent)
            outbound = Unannounced(known)
            if lacking:
                with self._open_rebuild(outbound) as rebuild:
                    rebuild.by_journal(lacking, on_progress=on_progress)
            done = Restored(
                len(lacking), records, len(sent) + outbound.suppressed, len(waiting) - len(sent) + outbound.sent
            )
            self._database.begin_incarnation(audit.Entry("replay.restored", _subject(lacking), note), over=lives)
        return done

    def _lacking(self, on_progress: rebuilding.Progress) -> list[journal_order.Row]:
        found = self._journal.read(on_progress)
        if found is None:
            raise journal_order.JournalUnusable(
                "the journal's topic does not go back to its beginning, so nobody can tell what the database lacks"
            )
        lacking = journal_order.lacking(found, self._database.known())
        _check_has_not_gone_on(found, self._database.journal(), is_lacking=bool(lacking))
        return lacking


def identity(topic: str, key: bytes | None, headers: messages.Headers) -> bytes:
    """Return what a message of ours is known by on its topic, whenever it is sent."""
    found = dict(headers)
    names = _DEAD_LETTER if "dead_letter_offset" in found else _CLOUD_EVENT
    parts = [found.get(name) for name in names] if messages.CE_ID in found or names is _DEAD_LETTER else [key]
    return hashlib.blake2b(repr((topic, parts)).encode(), digest_size=_DIGEST_BYTES).digest()


def _subject(lacking: Sequence[journal_order.Row]) -> str:
    return f"rows {lacking[0].number} to {lacking[-1].number} of the journal" if lacking else "the outbox alone"


def _check_has_not_gone_on(
    found: Mapping[int, journal_order.Row], own: Mapping[int, journal_order.Row], *, is_lacking: bool
) -> None:
    """Raise `CannotReplay` when the database has rows of its own since: one order excludes the other.

    In one that lacks none, rows that are not on the topic are still to be sent.
    """
    other = [
        number
        for number, row in own.items()
        if (found[number].entries != row.entries if number in found else is_lacking)
    ]
    if other:
        raise ports.CannotReplay(
            f"a worker has gone on with the restored database: row {min(other)} of its journal is not the one on the "
            "topic. Put the back-up back once more, and run this before anything else is started"
        )
