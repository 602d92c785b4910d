"""The relay without transactions, and the way from one kind of delivery to the other."""

from __future__ import annotations

import dataclasses

import pytest

from allocation.service_layer import ports as outside
from allocation.service_layer.relaying import checkpoints, passes, ports, switching
from tests.fakes import relaying as fakes

AT_LEAST_ONCE, EXACTLY_ONCE = ports.Delivery.AT_LEAST_ONCE, ports.Delivery.EXACTLY_ONCE


def an_outbox(*row_ids: int, delivery: ports.Delivery = AT_LEAST_ONCE) -> fakes.FakeOutbox:
    outbox = fakes.FakeOutbox(dataclasses.replace(fakes.FIRST_STATE, delivery=delivery))
    for row_id in row_ids:
        outbox.insert(row_id)
    return outbox


def a_relay(outbox: fakes.FakeOutbox, kafka: fakes.FakeKafka) -> passes.ShardRelay:
    """A relay that has just taken over, and sends as the database says."""
    is_exact = outbox.shard_state.delivery is EXACTLY_ONCE
    with kafka.open_log() if is_exact else kafka.open_idempotent_log() as kafka_log:
        relay = passes.ShardRelay(shard=0, outbox=outbox, kafka_log=kafka_log, size=passes.PassSize(maximum=4, rows=4))
    relay.recover()
    return relay


def switch(outbox: fakes.FakeOutbox, kafka: fakes.FakeKafka, delivery: ports.Delivery) -> None:
    with kafka.open_log() as transactions:
        switching.switch(delivery, shard=0, outbox=outbox, transactions=transactions)


def test_rows_that_were_not_deleted_are_sent_again_in_their_order() -> None:
    outbox, kafka = an_outbox(1, 2), fakes.FakeKafka(loses_answer=True)
    with pytest.raises(outside.DependencyDown):
        a_relay(outbox, kafka).run_pass()
    outbox.insert(3)
    a_relay(outbox, kafka).run_pass()
    assert kafka.sent_ids == [1, 2, 1, 2, 3]
    assert outbox.ids == []


def test_a_relay_that_was_overtaken_sends_nothing_more() -> None:
    outbox, kafka = an_outbox(1, 2), fakes.FakeKafka()
    overtaken = a_relay(outbox, kafka)
    a_relay(outbox, kafka).run_pass()
    outbox.insert(3)
    with pytest.raises(ports.Superseded):
        overtaken.run_pass()
    assert (kafka.sent_ids, outbox.ids) == ([1, 2], [3])


def test_a_lost_checkpoint_is_no_reason_to_stop() -> None:
    outbox = an_outbox(1)
    a_relay(outbox, fakes.FakeKafka(checkpoints=[])).run_pass()
    assert outbox.ids == []


def test_the_last_transaction_is_settled_before_the_switch() -> None:
    outbox, kafka = an_outbox(1, 2, delivery=EXACTLY_ONCE), fakes.FakeKafka(loses_answer=True)
    with pytest.raises(outside.DependencyDown):
        a_relay(outbox, kafka).run_pass()
    switch(outbox, kafka, AT_LEAST_ONCE)
    assert outbox.ids == []
    assert outbox.shard_state.delivery is AT_LEAST_ONCE
    a_relay(outbox, kafka).run_pass()
    assert kafka.sent_ids == [1, 2]


def test_a_relay_in_the_middle_of_a_transaction_is_fenced_off_by_the_switch() -> None:
    outbox, kafka = an_outbox(delivery=EXACTLY_ONCE), fakes.FakeKafka()
    with kafka.open_log() as halted:
        switch(outbox, kafka, AT_LEAST_ONCE)
        with pytest.raises(ports.Superseded):
            halted.send([], fakes.FIRST_CHECKPOINT)


@pytest.mark.parametrize(("was", "wanted"), [(EXACTLY_ONCE, AT_LEAST_ONCE), (AT_LEAST_ONCE, EXACTLY_ONCE)])
@pytest.mark.parametrize("is_quarantined", [False, True])
def test_while_rows_are_left_nothing_is_switched(
    was: ports.Delivery, wanted: ports.Delivery, *, is_quarantined: bool
) -> None:
    outbox, kafka = an_outbox(1, 2, delivery=was), fakes.FakeKafka()
    if is_quarantined:
        outbox.quarantine(1, reason="too large", state=outbox.state())
    with pytest.raises(ports.RelayStopped, match=f"still has 2 rows that are to be sent {was}"):
        switch(outbox, kafka, wanted)
    assert outbox.shard_state.delivery is was
    assert outbox.ids == [1, 2]


def test_there_and_back_again_everything_is_sent_once() -> None:
    outbox, kafka = an_outbox(1, delivery=EXACTLY_ONCE), fakes.FakeKafka()
    for row_id, delivery in enumerate((AT_LEAST_ONCE, EXACTLY_ONCE) * 2, start=2):
        a_relay(outbox, kafka).run_pass()
        switch(outbox, kafka, delivery)
        outbox.insert(row_id)
    a_relay(outbox, kafka).run_pass()
    assert kafka.sent_ids == [1, 2, 3, 4, 5]
    assert kafka.checkpoints[-1].number == outbox.shard_state.passes == 5


def test_a_switch_that_was_cut_short_behind_its_checkpoint_is_done_again() -> None:
    outbox, kafka = an_outbox(1), fakes.FakeKafka()
    a_relay(outbox, kafka).run_pass()
    kafka.loses_answer = True
    with pytest.raises(outside.DependencyDown):
        switch(outbox, kafka, EXACTLY_ONCE)
    outbox.insert(2)
    a_relay(outbox, kafka).run_pass()
    switch(outbox, kafka, EXACTLY_ONCE)
    a_relay(outbox, kafka).run_pass()
    assert kafka.sent_ids == [1, 2]


def test_a_database_that_has_not_counted_the_last_checkpoint_is_not_switched_back() -> None:
    outbox = an_outbox()
    kafka = fakes.FakeKafka(
        checkpoints=[checkpoints.Checkpoint(database_id="database", incarnation="first life", number=7)]
    )
    with pytest.raises(ports.RelayStopped, match="the database is the older one: pass 0 in the database, 7 in Kafka"):
        switch(outbox, kafka, EXACTLY_ONCE)
    assert outbox.shard_state.delivery is AT_LEAST_ONCE
