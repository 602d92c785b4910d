"""Any mix of late commits, lost answers, aborted transactions, crashes and zombies: once each, in order."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import defaultdict

from hypothesis import settings
from hypothesis import stateful as hs
from hypothesis import strategies as st

from allocation.service_layer import ports as outside
from allocation.service_layer.relaying import passes, ports
from tests.fakes import relaying as fakes

SKUS = ("LAMP", "CHAIR", "TABLE")


class Relays(hs.RuleBasedStateMachine):
    """Several relays of one shard, of which each new one fences the others; and writers, one a sku."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = fakes.FakeOutbox()
        self.kafka = fakes.FakeKafka(refuses=lambda row: row[4] == b"refused")
        self.size = passes.PassSize(maximum=4, rows=4)
        self.relays: list[passes.ShardRelay] = []
        self.drawn: defaultdict[str, list[int]] = defaultdict(list)
        self.skus: dict[int, str] = {}

    @hs.rule(sku=st.sampled_from(SKUS))
    def draw_an_id(self, sku: str) -> None:
        row_id = len(self.skus) + 1
        self.skus[row_id] = sku
        self.drawn[sku].append(row_id)

    @hs.rule(sku=st.sampled_from(SKUS), refused=st.integers(0, 9).map(lambda number: number == 0))
    def commit_the_rows_of_a_sku(self, sku: str, *, refused: bool) -> None:
        for row_id in self.drawn.pop(sku, ()):
            self.outbox.insert(row_id, sku=sku, value=b"refused" if refused else b"")

    def open_log(self) -> contextlib.AbstractContextManager[ports.Log]:
        return self.kafka.open_log()

    @hs.rule()
    def start_a_relay(self) -> None:
        with self.open_log() as kafka_log:
            relay = passes.ShardRelay(shard=0, outbox=self.outbox, kafka_log=kafka_log, size=self.size)
        relay.recover()
        self.relays.append(relay)

    @hs.rule(passes_=st.integers(min_value=1, max_value=3))
    def start_a_relay_that_is_taken_over_while_it_recovers(self, passes_: int) -> None:
        def take_over() -> None:
            self.start_a_relay()
            with contextlib.suppress(ports.Refused):
                for _ in range(passes_):
                    self.relays[-1].run_pass()

        self.kafka.on_look = take_over
        with contextlib.suppress(ports.Superseded):
            self.start_a_relay()

    @hs.precondition(lambda self: self.relays)
    @hs.rule(data=st.data(), loses=st.sampled_from(("nothing", "the answer", "the transaction")))
    def let_a_relay_pass(self, data: st.DataObject, loses: str) -> None:
        relay = data.draw(st.sampled_from(self.relays))
        self.kafka.loses_answer = loses == "the answer"
        self.kafka.loses_transaction = loses == "the transaction"
        try:
            relay.run_pass()
        except (outside.Retryable, ports.Refused):
            self.relays.remove(relay)
        finally:
            self.kafka.loses_answer = self.kafka.loses_transaction = False

    def seen_ids(self) -> list[int]:
        """Return what a consumer has had, in its order."""
        return self.kafka.sent_ids

    @hs.invariant()
    def no_event_is_sent_twice_or_lost(self) -> None:
        sent = self.seen_ids()
        assert len(set(sent)) == len(sent)
        drawn = {row_id for ids in self.drawn.values() for row_id in ids}
        assert set(self.skus) == drawn | set(self.outbox.ids) | set(sent)

    @hs.invariant()
    def events_of_a_sku_are_in_order(self) -> None:
        by_sku: defaultdict[str, list[int]] = defaultdict(list)
        for row_id in self.seen_ids():
            by_sku[self.skus[row_id]].append(row_id)
        assert all(ids == sorted(ids) for ids in by_sku.values())

    def teardown(self) -> None:
        """At last, all that may be sent is sent."""
        for sku in tuple(self.drawn):
            self.commit_the_rows_of_a_sku(sku, refused=False)
        while True:
            self.start_a_relay()
            try:
                while self.relays[-1].run_pass().rows:
                    pass
            except ports.Refused:
                continue
            break
        assert all(self.outbox.stored[row_id].quarantined or self._waits(row_id) for row_id in self.outbox.ids)

    def _waits(self, row_id: int) -> bool:
        sku = self.skus[row_id]
        return any(self.skus[other] == sku and other < row_id for other in self.outbox.quarantined_ids)


class RelaysWithoutTransactions(Relays):
    """The same, but nobody is fenced off; the consumer drops what it has had."""

    def __init__(self) -> None:
        super().__init__()
        state = dataclasses.replace(fakes.FIRST_STATE, delivery=ports.Delivery.AT_LEAST_ONCE)
        self.outbox = fakes.FakeOutbox(state)

    def open_log(self) -> contextlib.AbstractContextManager[ports.Log]:
        return self.kafka.open_idempotent_log()

    def seen_ids(self) -> list[int]:
        return list(dict.fromkeys(self.kafka.sent_ids))


Relays.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRelays = Relays.TestCase
RelaysWithoutTransactions.TestCase.settings = Relays.TestCase.settings
TestRelaysWithoutTransactions = RelaysWithoutTransactions.TestCase
