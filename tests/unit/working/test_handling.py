"""What becomes of records: handled, tried again, let go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocation.domain import commands
from allocation.service_layer import failure_policy, messages, ports, reporting
from tests.unit.working import scenes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import structlog


def test_offsets_are_committed_once_the_database_has_the_effect(
    scene: scenes.Scene, logged: list[structlog.types.EventDict]
) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1), commands.Allocate("o1", "NO", 1))
    scene.run()
    assert scene.consumer.committed == [0, 1]
    [line] = [line for line in logged if line["event"] == "worker.batch"]
    assert (line["records"], line["handled"], line["waited"], line["events"]) == (2, 1, 1, 0)


def test_a_conflict_is_tried_again_after_a_short_while(scene: scenes.Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.Retryable("a conflict")] * 3
    scene.run()
    assert scene.consumer.committed == [0]
    assert len(scene.consumer.pauses) == 3
    assert all(pause < 1 for pause in scene.consumer.pauses)


def test_an_outage_of_any_length_is_waited_out(scene: scenes.Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.DependencyDown("no database") for _ in range(2000)]
    scene.run()
    assert scene.consumer.committed == [0]
    assert len(scene.consumer.pauses) == 2000
    assert min(scene.consumer.pauses[10:]) >= 2.5
    assert max(scene.consumer.pauses) <= 5
    assert len(set(scene.consumer.pauses[10:])) > 1000, "no two workers shall come back together, time after time"


@pytest.mark.parametrize(
    ("error", "first_s", "last_s"),
    [(ports.DependencyDown("no database"), 0.05, 5.0), (ports.Retryable("a conflict"), 0.05, 0.5)],
    ids=["outage", "conflict"],
)
def test_pauses_double_up_to_a_limit_and_lie_between_half_and_whole_of_it(
    scene: scenes.Scene, error: ports.Retryable, first_s: float, last_s: float
) -> None:
    longest = [min(first_s * 2**number, last_s) for number in range(12)]
    pauses = pauses_after(scene, error, times=len(longest))
    assert not [(pause, limit) for pause, limit in zip(pauses, longest, strict=True) if not limit / 2 <= pause <= limit]
    assert longest[-1] == last_s
    again = pauses_after(scenes.Scene(), error, times=len(longest))
    assert all(one != another for one, another in zip(pauses, again, strict=True)), "two workers came back together"


def pauses_after(scene: scenes.Scene, error: ports.Retryable, *, times: int) -> list[float]:
    """Return how long a worker pauses after each of so many failures in a row."""
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [error] * times
    scene.run()
    return scene.consumer.pauses


def test_after_a_lost_connection_nothing_is_written_before_the_database_is_known_to_be_no_older(
    scene: scenes.Scene,
) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.DependencyDown("the connection is lost")]
    scene.consumer.on_pause = lambda: setattr(scene.currency, "is_doubtful", True)
    scene.currency.finds = [ports.DependencyDown("no database"), RuntimeError("it is older")]
    with pytest.raises(RuntimeError, match="it is older"):
        scene.run()
    assert scene.currency.checked_after == [0, 0]
    assert scene.database.commits == 0


def test_a_database_that_has_gone_back_is_gone_on_with_from_its_positions_if_its_topics_are_no_newer(
    scene: scenes.Scene,
) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.run()
    scene.stopping.clear()
    scene.database.state.positions.clear()
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    log = messages.LogPartition("id of create_batch", 0)
    scene.consumer.ends = [messages.LogEnd("create_batch", log, 1, 2)]
    scene.consumer.on_placed = lambda: scene.processor.forget(log)
    scene.run()
    assert (scene.currency.checked_after, scene.consumer.placed_again) == ([1], 1)
    assert scene.database.state.positions[log].next_offset == 1


def test_after_an_outage_pauses_are_short_again(scene: scenes.Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.consumer.arriving.extend(ports.DependencyDown("no Kafka") for _ in range(12))
    scene.arrive(commands.CreateBatch("b2", "LAMP", 1))
    scene.consumer.arriving.append(ports.DependencyDown("no Kafka"))
    scene.run()
    assert scene.consumer.pauses[-2] > 2
    assert scene.consumer.pauses[-1] < 0.1


def test_records_that_may_be_anothers_after_a_rebalance_are_let_go(scene: scenes.Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.DependencyDown("no database")]

    def rebalance() -> None:
        scene.consumer.rebalances += 1

    scene.consumer.on_pause = rebalance
    scene.run()
    assert scene.consumer.placed_again == 1
    assert (scene.consumer.committed, scene.database.commits) == ([], 0)


def test_a_stop_during_an_outage_lets_the_records_go(scene: scenes.Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.DependencyDown("no database")] * 5
    scene.consumer.on_pause = scene.stopping.set
    scene.run()
    assert (len(scene.consumer.pauses), scene.consumer.placed_again, scene.consumer.committed) == (1, 1, [])


def test_a_stop_lets_the_batch_in_hand_be_finished(scene: scenes.Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.arrive(commands.CreateBatch("b2", "LAMP", 1))
    process = scene.processor.process

    class StopsMeanwhile:
        def process(self, records: Sequence[messages.Record], **_: object) -> list[reporting.Report]:
            scene.stopping.set()
            return [process(records)]

    scene.run(StopsMeanwhile())
    assert scene.consumer.committed == [0]
    assert scene.database.commits == 1


def test_a_conflict_that_never_ends_becomes_a_fault(scene: scenes.Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    told: list[bool] = []

    class AlwaysInConflict:
        def process(self, _: Sequence[messages.Record], *, conflicts_are_faults: bool) -> list[reporting.Report]:
            told.append(conflicts_are_faults)
            if conflicts_are_faults:
                return []
            raise ports.Retryable("a conflict")

    scene.run(AlwaysInConflict())
    assert told == [*[False] * 20, True]


def test_a_log_that_diverged_is_left_alone_and_the_others_go_on(scene: scenes.Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1), commands.Allocate("o1", "LAMP", 1))
    scene.consumer.arriving.append(
        [
            scenes.a_record(commands.Allocate("o9", "LAMP", 1), 1),
            scenes.a_record(commands.CreateBatch("b2", "LAMP", 1), 1),
        ]
    )
    scene.run()
    assert scene.consumer.aside == [("allocate", 0)]
    assert {batch.reference for batch in scene.database.state.products["LAMP"].batches} == {"b1", "b2"}
    assert scene.consumer.committed == [0, 1, 1]
    assert scene.consumer.placed_again == 0


def test_a_batch_of_nothing_but_a_diverged_log_is_dropped(scene: scenes.Scene) -> None:
    scene.arrive(commands.Allocate("o1", "LAMP", 1))
    scene.arrive(commands.Allocate("o9", "LAMP", 1))
    scene.run()
    assert (scene.consumer.aside, scene.consumer.committed) == ([("allocate", 0)], [0])


def test_a_batch_that_fails_is_followed_by_smaller_ones(scene: scenes.Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.consumer.arriving.append(())
    scene.database.failures = [ports.Retryable("a conflict")] * 3
    scene.run(batch_size=100)
    assert scene.consumer.sizes[:2] == [100, 24]


def test_what_was_more_than_one_transaction_may_take_is_tried_again_in_smaller_ones(scene: scenes.Scene) -> None:
    """The server closes the connection of a transaction that takes too long: it looks like an outage."""
    sizes: list[int] = []

    class Limited(failure_policy.FailurePolicy):
        def process(
            self, records: Sequence[messages.Record], *, conflicts_are_faults: bool = False
        ) -> list[reporting.Report]:
            sizes.append(len(records))
            if len(records) > 3:
                msg = "the database does not answer: server closed the connection unexpectedly"
                raise ports.DependencyDown(msg)
            return super().process(records, conflicts_are_faults=conflicts_are_faults)

    scene.arrive(*(commands.CreateBatch(f"b{number}", "LAMP", 1) for number in range(8)))
    scene.run(Limited(scene.processor, max_retries=0), batch_size=8)
    assert sizes[:3] == [8, 4, 2]
    assert scene.consumer.committed == list(range(8))
    assert scene.consumer.placed_again == 0
