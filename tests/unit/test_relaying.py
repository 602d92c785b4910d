from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import signal
import subprocess
import sys

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from allocation.adapters.postgres import headers as outbox_headers
from allocation.service_layer import kill_points, messages
from allocation.service_layer import ports as outside
from allocation.service_layer.relaying import checkpoints, passes, ports
from tests.fakes import relaying as fakes


def an_outbox(*row_ids: int) -> fakes.FakeOutbox:
    outbox = fakes.FakeOutbox()
    for row_id in row_ids:
        outbox.insert(row_id)
    return outbox


def a_relay(
    outbox: fakes.FakeOutbox, kafka: fakes.FakeKafka, *, size: passes.PassSize | None = None
) -> passes.ShardRelay:
    """A relay that has just taken over and recovered."""
    with kafka.open_log() as transactions:
        relay = passes.ShardRelay(
            shard=0, outbox=outbox, kafka_log=transactions, size=size or passes.PassSize(maximum=3, rows=3)
        )
    relay.recover()
    return relay


def relay_all(outbox: fakes.FakeOutbox, kafka: fakes.FakeKafka, *, size: passes.PassSize) -> None:
    """Take over again after each refusal, until a pass finds nothing."""
    while True:
        try:
            relay = a_relay(outbox, kafka, size=size)
            while relay.run_pass().rows:
                pass
        except ports.Refused:
            continue
        else:
            return


def test_a_pass_is_told_with_the_traces_of_its_rows() -> None:
    outbox, kafka = an_outbox(1, 2), fakes.FakeKafka()
    traced = outbox_headers.dump(((messages.TRACEPARENT, b"00-%b-%b-01" % (b"a" * 32, b"b" * 16)),))
    outbox.stored[1].row = (*outbox.stored[1].row[:5], traced)
    with structlog.testing.capture_logs() as logged:
        a_relay(outbox, kafka).run_pass()
    [line] = [line for line in logged if line["event"] == "relay.pass"]
    assert line["trace_ids"] == ["a" * 32]


def test_rows_are_sent_in_the_order_of_their_ids_and_deleted() -> None:
    outbox, kafka = an_outbox(3, 1, 2), fakes.FakeKafka()
    passed = a_relay(outbox, kafka).run_pass()
    assert kafka.sent_ids == [1, 2, 3]
    assert outbox.ids == []
    assert passed.rows == 3


def test_a_pass_takes_no_more_than_its_size_and_says_that_more_is_there() -> None:
    outbox, kafka = an_outbox(1, 2, 3, 4), fakes.FakeKafka()
    relay = a_relay(outbox, kafka)
    assert relay.run_pass() == passes.Passed(rows=3, is_behind=True)
    assert relay.run_pass() == passes.Passed(rows=1, is_behind=False)
    assert kafka.sent_ids == [1, 2, 3, 4]


def test_an_empty_outbox_causes_no_transaction() -> None:
    kafka = fakes.FakeKafka()
    assert a_relay(an_outbox(), kafka).run_pass().rows == 0
    assert kafka.transactions == 0


def test_a_row_that_is_committed_late_with_a_lower_id_is_sent() -> None:
    outbox, kafka = an_outbox(5, 6), fakes.FakeKafka()
    relay = a_relay(outbox, kafka)
    relay.run_pass()
    outbox.insert(4)
    relay.run_pass()
    assert kafka.sent_ids == [5, 6, 4]


def test_rows_whose_commit_was_not_answered_are_not_sent_again() -> None:
    outbox, kafka = an_outbox(1, 2), fakes.FakeKafka(loses_answer=True)
    with pytest.raises(outside.DependencyDown):
        a_relay(outbox, kafka).run_pass()
    assert outbox.ids == [1, 2]
    a_relay(outbox, kafka).run_pass()
    assert kafka.sent_ids == [1, 2]
    assert outbox.ids == []


def test_rows_whose_transaction_was_aborted_are_sent_by_the_next_relay() -> None:
    outbox, kafka = an_outbox(1, 2), fakes.FakeKafka(loses_transaction=True)
    with pytest.raises(outside.DependencyDown):
        a_relay(outbox, kafka).run_pass()
    a_relay(outbox, kafka).run_pass()
    assert kafka.sent_ids == [1, 2]


def test_recovery_deletes_only_the_rows_that_were_sent() -> None:
    outbox, kafka = an_outbox(1, 2, 7), fakes.FakeKafka(loses_answer=True)
    with pytest.raises(outside.DependencyDown):
        a_relay(outbox, kafka).run_pass()
    outbox.insert(4)
    a_relay(outbox, kafka)
    assert outbox.ids == [4]


def test_a_relay_that_was_taken_over_sends_and_deletes_nothing() -> None:
    outbox, kafka = an_outbox(1, 2), fakes.FakeKafka()
    zombie = a_relay(outbox, kafka)
    a_relay(outbox, kafka)
    with pytest.raises(ports.Superseded):
        zombie.run_pass()
    assert (kafka.sent_ids, outbox.ids) == ([], [1, 2])


def test_a_relay_that_wakes_up_between_commit_and_deletion_deletes_nothing() -> None:
    outbox, kafka = an_outbox(1, 2), fakes.FakeKafka()
    with kafka.open_log() as transactions:
        sent = checkpoints.Checkpoint(
            database_id="database", incarnation="first life", number=1, runs=(checkpoints.Run(1, 2),)
        )
        transactions.send(list(outbox.read(limit=2, state=outbox.state()).rows), sent)
    a_relay(outbox, kafka)
    outbox.insert(3)
    with pytest.raises(ports.Superseded):
        outbox.settle(dataclasses.replace(sent, runs=(checkpoints.Run(1, 3),)))
    assert outbox.ids == [3]


@pytest.mark.parametrize("loses_answer", [False, True])
def test_a_relay_that_is_taken_over_while_it_recovers_draws_no_conclusions(*, loses_answer: bool) -> None:
    outbox, kafka = an_outbox(*range(10)), fakes.FakeKafka()

    def take_over() -> None:
        other = a_relay(outbox, kafka)
        other.run_pass()
        kafka.loses_answer = loses_answer
        with contextlib.suppress(outside.DependencyDown):
            other.run_pass()

    kafka.on_look = take_over
    with pytest.raises(ports.Superseded):
        a_relay(outbox, kafka)
    assert a_relay(outbox, kafka).run_pass().rows == 3
    assert kafka.sent_ids == list(range(9))


def test_rows_of_a_restored_database_are_not_taken_for_those_of_its_former_life() -> None:
    outbox, kafka = an_outbox(1, 2), fakes.FakeKafka(loses_answer=True)
    with pytest.raises(outside.DependencyDown):
        a_relay(outbox, kafka).run_pass()
    restored = an_outbox(1)
    restored.shard_state = dataclasses.replace(
        fakes.FIRST_STATE, incarnation="second life", earlier=frozenset({"first life"})
    )
    a_relay(restored, kafka).run_pass()
    assert kafka.sent_ids == [1, 2, 1]


def test_a_database_that_has_forgotten_its_newest_life_stops_the_relay() -> None:
    outbox, kafka = an_outbox(1, 2), fakes.FakeKafka()
    outbox.shard_state = dataclasses.replace(
        fakes.FIRST_STATE, incarnation="second life", earlier=frozenset({"first life"})
    )
    a_relay(outbox, kafka).run_pass()
    with pytest.raises(ports.RelayStopped, match="of a later life of the database"):
        a_relay(an_outbox(1, 2), kafka)
    assert kafka.sent_ids == [1, 2]


def test_a_shard_without_a_first_checkpoint_is_not_relayed() -> None:
    outbox = fakes.FakeOutbox(dataclasses.replace(fakes.FIRST_STATE, is_checkpointed=False))
    with pytest.raises(ports.RelayStopped, match="run `allocation init`"):
        a_relay(outbox, fakes.FakeKafka())


def test_a_lost_checkpoint_stops_the_relay() -> None:
    with pytest.raises(ports.RelayStopped, match="its checkpoint is gone from Kafka"):
        a_relay(an_outbox(1), fakes.FakeKafka(checkpoints=[]))


def test_the_checkpoint_of_another_database_stops_the_relay() -> None:
    outbox = fakes.FakeOutbox(dataclasses.replace(fakes.FIRST_STATE, database_id="other"))
    with pytest.raises(ports.RelayStopped, match="is of another database"):
        a_relay(outbox, fakes.FakeKafka())


def test_a_database_older_than_what_was_sent_stops_the_relay() -> None:
    outbox, kafka = an_outbox(), fakes.FakeKafka()
    relay = a_relay(outbox, kafka)
    for row_id in (1, 2):
        outbox.insert(row_id)
        relay.run_pass()
    with pytest.raises(ports.RelayStopped, match="the database is the older one: pass 0 in the database, 2 in Kafka"):
        a_relay(an_outbox(1, 2), kafka)


def test_a_topic_older_than_the_database_stops_the_relay() -> None:
    outbox, kafka = an_outbox(1), fakes.FakeKafka()
    a_relay(outbox, kafka).run_pass()
    with pytest.raises(ports.RelayStopped, match="the checkpoint topic is the older one"):
        a_relay(outbox, fakes.FakeKafka())


def test_a_database_without_the_rows_that_were_sent_last_stops_the_relay() -> None:
    outbox, kafka = an_outbox(1, 2), fakes.FakeKafka(loses_answer=True)
    with pytest.raises(outside.DependencyDown):
        a_relay(outbox, kafka).run_pass()
    with pytest.raises(ports.RelayStopped, match="pass 1 sent 2 rows, of which the database has 1"):
        a_relay(an_outbox(1), kafka)


def test_a_refused_row_is_set_aside_with_those_behind_it_and_all_others_go_through() -> None:
    outbox, kafka = fakes.FakeOutbox(), fakes.FakeKafka(refuses=lambda row: row[4] == b"huge")
    for row_id in range(1, 21):
        outbox.insert(row_id, sku="LAMP" if row_id % 2 else "CHAIR", value=b"huge" if row_id == 7 else b"")
    relay_all(outbox, kafka, size=passes.PassSize(maximum=16, rows=16))
    assert outbox.quarantined_ids == [7, 9, 11, 13, 15, 17, 19]
    assert kafka.sent_ids == [row_id for row_id in range(1, 21) if row_id not in outbox.quarantined_ids]


def test_later_rows_of_a_sku_wait_behind_its_quarantined_row() -> None:
    outbox, kafka = fakes.FakeOutbox(), fakes.FakeKafka(refuses=lambda row: row[4] == b"huge")
    size = passes.PassSize(maximum=4, rows=4)
    outbox.insert(1, value=b"huge")
    relay_all(outbox, kafka, size=size)
    outbox.insert(2)
    outbox.insert(3, sku="CHAIR")
    relay_all(outbox, kafka, size=size)
    assert kafka.sent_ids == [3]
    assert outbox.ids == [1, 2]


def test_a_refused_row_without_a_sku_holds_nothing_back() -> None:
    outbox, kafka = fakes.FakeOutbox(), fakes.FakeKafka(refuses=lambda row: row[4] == b"huge")
    outbox.insert(1, sku=None, value=b"huge")
    outbox.insert(2, sku=None)
    relay_all(outbox, kafka, size=passes.PassSize(maximum=4, rows=4))
    assert kafka.sent_ids == [2]


def test_passes_grow_again_after_a_refusal() -> None:
    size = passes.PassSize(maximum=8, rows=8)
    size.shrink(5)
    assert size.rows == 2
    for expected in (4, 8, 8):
        size.grow()
        assert size.rows == expected


@given(st.sets(st.integers(min_value=1, max_value=40)))
def test_runs_hold_the_ids_that_they_were_made_of_and_no_others(ids: set[int]) -> None:
    runs = checkpoints.runs_of(sorted(ids))
    assert {row_id for run in runs for row_id in range(run.first, run.last + 1)} == ids
    assert all(left.last + 1 < right.first for left, right in itertools.pairwise(runs))


def test_a_checkpoint_is_read_back_as_it_was_written() -> None:
    written = checkpoints.Checkpoint(
        database_id="d", incarnation="i", number=7, runs=(checkpoints.Run(1, 5), checkpoints.Run(9, 9))
    )
    assert checkpoints.Checkpoint.from_json(written.to_json()) == written
    assert written.rows == 6


@pytest.mark.parametrize("value", [b"", b"nonsense", b"[]", b'{"database": "d"}', b'{"rows": 1}'])
def test_a_record_that_is_no_checkpoint_says_so(value: bytes) -> None:
    with pytest.raises(ValueError, match="is no checkpoint of a relay"):
        checkpoints.Checkpoint.from_json(value)


_VISITS = "from allocation.service_layer import kill_points as k; [k.reached('a') or k.reached('b') for _ in range(3)]"


@pytest.mark.parametrize(
    ("point", "status"),
    [("", 0), ("c", 0), ("a:4", 0), ("a", -signal.SIGKILL), ("b", -signal.SIGKILL), ("b:3", -signal.SIGKILL)],
)
def test_a_kill_point_ends_the_process_where_and_when_it_is_told_to(point: str, status: int) -> None:
    environment = {**os.environ, kill_points.VARIABLE: point}
    assert subprocess.run([sys.executable, "-c", _VISITS], env=environment, check=False).returncode == status
