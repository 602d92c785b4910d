from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.service_layer import messages
from allocation.service_layer.operations.replay import restoring

if TYPE_CHECKING:
    from collections.abc import Sequence

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
