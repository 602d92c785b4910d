from __future__ import annotations

import contextlib
import datetime
from typing import TYPE_CHECKING, Any

import pytest

from allocation.service_layer import messages, unit_of_work
from allocation.service_layer.operations import audit
from allocation.service_layer.operations.replay import journal_order, ports, restoring

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

EVENT = (("ce_id", b"1"), ("ce_source", b"allocation"), ("ce_time", b"noon"))


def known(*headers: Sequence[tuple[str, bytes | None]], topic: str = "t", key: bytes = b"k") -> list[bytes]:
    return [restoring.identity(topic, key, tuple(one)) for one in headers]


def test_an_event_is_known_by_its_id_whenever_it_was_made() -> None:
    one, same, other, resent = known(
        EVENT, [*EVENT[:2], ("ce_time", b"one")], [("ce_id", b"2")], [*EVENT, ("allocation_resent", b"1")]
    )
    assert one == same
    assert len({one, other, resent}) == 3
    assert known(EVENT) != known(EVENT, topic="another")


def test_a_dead_letter_is_known_by_where_it_lay_and_its_attempt() -> None:
    place = [*EVENT, ("dead_letter_topic_id", b"x"), ("dead_letter_partition", b"0"), ("dead_letter_offset", b"7")]
    first, same, second = known(
        [*place, ("dead_letter_attempt", b"1")],
        [*place, ("dead_letter_attempt", b"1"), ("dead_letter_time", b"noon")],
        [*place, ("dead_letter_attempt", b"2")],
    )
    assert first == same != second


def test_a_row_of_the_journal_is_known_by_its_number() -> None:
    assert known([], key=b"1") == known([], key=b"1") != known([], key=b"2")


def test_only_what_is_not_on_its_topic_goes_into_the_outbox() -> None:
    sent, unsent = (messages.OutboxMessage("t", b"k", b"v", (("ce_id", number),)) for number in (b"1", b"2"))
    outbound = restoring.Unannounced({restoring.identity(*sent[:2], sent.headers)})
    assert outbound.before_commit([sent, unsent]) == [unsent]
    assert (outbound.suppressed, outbound.sent) == (1, 1)


def a_row(number: int, what: str = "handled") -> journal_order.Row:
    at = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    return journal_order.Row(number, at, "1", (unit_of_work.JournalEntry(what, "allocate", 0, number, number),))


class FakeRestored:
    """A database, the journal and the topics at once; `rebuilt` is what was done again."""

    def __init__(
        self, *, own: Sequence[int], told: Sequence[int], waiting: Sequence[bytes], sent: Sequence[bytes]
    ) -> None:
        self.own = {number: a_row(number) for number in own}
        self.told = {number: a_row(number) for number in told}
        self.waiting = [restoring.Waiting(number, "t", one) for number, one in enumerate(waiting)]
        self.sent = sent
        self.rebuilt: list[int] = []
        self.begun: list[tuple[str, Collection[str]]] = []

    def check_unused(self) -> None: ...

    def known(self) -> journal_order.Known:
        return journal_order.Known(self.own)

    def journal(self) -> Mapping[int, journal_order.Row]:
        return self.own

    def read(self, on_progress: Any) -> Mapping[int, journal_order.Row]:  # noqa: ARG002
        return self.told

    def outbox(self) -> Sequence[restoring.Waiting]:
        return self.waiting

    def delete(self, ids: Collection[int]) -> None:
        self.waiting = [one for one in self.waiting if one.id not in ids]

    def begin_incarnation(self, entry: audit.Entry, *, over: Collection[str]) -> None:
        self.begun.append((entry.subject, over))

    @contextlib.contextmanager
    def fenced(self) -> Iterator[Collection[str]]:
        yield {"a life that was lost"}

    def identities(self, names: Collection[str], on_progress: Any) -> Iterator[bytes]:  # noqa: ARG002
        yield from self.sent

    @contextlib.contextmanager
    def open_rebuild(self, outbound: object) -> Iterator[Any]:  # noqa: ARG002
        yield self

    def by_journal(self, rows: Sequence[journal_order.Row], *, on_progress: object) -> None:  # noqa: ARG002
        self.rebuilt += [row.number for row in rows]

    def restore(self, *, dry_run: bool = False) -> restoring.Restored:
        fake: Any = self
        operation = restoring.Restore(
            database=fake, journal=fake, topics=fake, event_topics=["t"], open_rebuild=self.open_rebuild
        )
        return operation.run(audit.Note("jane", "a failover"), dry_run=dry_run, on_progress=lambda *_: None)


def test_rows_that_are_lacking_are_done_again_and_a_new_life_begins() -> None:
    installation = FakeRestored(own=[1], told=[1, 2], waiting=[], sent=[b"event"])
    assert installation.restore(dry_run=True).rows == 1
    assert (installation.rebuilt, installation.begun) == ([], [])
    assert installation.restore().rows == 1
    assert installation.rebuilt == [2]
    assert installation.begun == [("rows 2 to 2 of the journal", {"a life that was lost"})]


def test_a_database_that_lacks_passes_of_the_relay_alone_sends_nothing_twice_and_begins_a_new_life() -> None:
    """So does one whose restore was cut short before the new life."""
    installation = FakeRestored(own=[1, 2], told=[1], waiting=[b"sent", b"unsent"], sent=[b"sent"])
    assert installation.restore(dry_run=True) == restoring.Restored(0, 0, known=1, unsent=1)
    assert (len(installation.waiting), installation.begun) == (2, [])
    assert installation.restore() == restoring.Restored(0, 0, known=1, unsent=1)
    assert [one.identity for one in installation.waiting] == [b"unsent"]
    assert installation.begun == [("the outbox alone", {"a life that was lost"})]


@pytest.mark.parametrize(("own", "told"), [([1, 2], [1, 2]), ([1, 3], [1, 2])])
def test_a_database_that_was_gone_on_with_is_left_alone(own: Sequence[int], told: Sequence[int]) -> None:
    installation = FakeRestored(own=own, told=told, waiting=[b"sent"], sent=[b"sent"])
    installation.own[own[-1]] = a_row(own[-1], "refused")
    with pytest.raises(ports.CannotReplay, match="a worker has gone on with the restored database"):
        installation.restore()
    assert (len(installation.waiting), installation.begun) == (1, [])
