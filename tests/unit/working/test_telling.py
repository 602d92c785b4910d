"""What a worker says, in its log and to whoever listens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.domain import commands
from allocation.service_layer import brakes, messages, ports, refusals
from tests import builders
from tests.unit.working import scenes

if TYPE_CHECKING:
    import structlog


def test_a_batch_is_told_with_the_traces_that_its_senders_keep(
    scene: scenes.Scene, logged: list[structlog.types.EventDict]
) -> None:
    scene.consumer.arriving.append(
        [
            builders.a_record(b"rubbish", offset=0),
            a_traced("a", offset=1),
            a_traced("b", flags="00", offset=2),
            a_traced("c", offset=3),
            a_traced("a", offset=4),
        ]
    )
    scene.run()
    [line] = [line for line in logged if line["event"] == "worker.batch"]
    assert line["trace_ids"] == ["a" * 32, "c" * 32]
    assert "trace_id" not in line


def a_traced(digit: str, *, offset: int, flags: str = "01") -> messages.Record:
    header = f"00-{digit * 32}-b7ad6b7169203331-{flags}".encode()
    return builders.a_record(b"rubbish", offset=offset, headers=((messages.TRACEPARENT, header),))


def test_a_refused_command_is_named_with_its_reason(
    scene: scenes.Scene, logged: list[structlog.types.EventDict]
) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = ((messages.CE_ID, b"17"), (messages.CE_SOURCE, b"shop"))
    traced = (*headers, (messages.TRACEPARENT, f"00-{trace}-{span}-01".encode()))
    scene.consumer.arriving.append(
        [builders.a_record(b"rubbish", topic="allocate", partition=2, offset=5, headers=traced)]
    )
    scene.run()
    [line] = [line for line in logged if line["event"] == "worker.refused"]
    assert line.pop("error")
    assert line == {
        "event": "worker.refused",
        "log_level": "warning",
        "topic": "allocate",
        "partition": 2,
        "offset": 5,
        "message_id": "17",
        "reason": "undecodable",
        "trace_id": trace,
    }


def test_a_flood_of_rubbish_does_not_flood_the_log(
    scene: scenes.Scene, logged: list[structlog.types.EventDict]
) -> None:
    scene.consumer.arriving.append([builders.a_record(b"rubbish", offset=offset) for offset in range(25)])
    scene.run()
    assert scenes.events_of(logged).count("worker.refused") == refusals.MAX_LINES
    assert [line["messages"] for line in logged if line["event"] == "worker.refused_more"] == [5]


def test_a_batch_of_one_is_told_by_its_ids_and_a_larger_one_by_its_place(
    scene: scenes.Scene, logged: list[structlog.types.EventDict]
) -> None:
    [alone] = [scenes.a_record(commands.CreateBatch("b1", "LAMP", 1), 0)]
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = ((messages.CE_ID, b"c1"), (messages.TRACEPARENT, f"00-{trace}-b7ad6b7169203331-01".encode()))
    scene.consumer.arriving.append([alone._replace(headers=headers)])
    scene.consumer.arriving.append([scenes.a_record(commands.Allocate(f"o{n}", "LAMP", 1), n) for n in (1, 2)])
    scene.run()
    one, two = [line for line in logged if line["event"] == "worker.batch"]
    assert (one["first"], one["message_id"], one["trace_id"]) == ("create_batch/0/0", "c1", trace)
    assert (two["first"], two["last"], "message_id" in two) == ("allocate/0/1", "allocate/0/2", False)


def test_a_worker_to_which_nothing_happens_says_that_all_is_well(scene: scenes.Scene) -> None:
    scene.run()
    assert {item: said.state for item, said in scene.standing.items().items()} == {
        "work": "ok",
        "assignment": "3 partitions",
        "partitions": "ok",
        "circuit": "ok",
        "outbox limit": "ok",
    }
    assert scenes.problems(scene) == {}


def test_what_a_worker_waits_for_is_said_until_it_has_succeeded(scene: scenes.Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.DependencyDown("no database")]
    said: list[dict[str, str]] = []
    scene.consumer.on_pause = lambda: said.append(scenes.problems(scene))
    scene.run()
    assert said == [{"work": "no database"}]
    assert scenes.problems(scene) == {}


def test_a_worker_that_is_braked_says_why(scene: scenes.Scene) -> None:
    scene.consumer.arriving.append([builders.a_record(None, offset=offset) for offset in range(brakes.WINDOW)])
    scene.consumer.on_pause = scene.stopping.set
    scene.run()
    assert scenes.problems(scene).keys() == {"circuit"}
    assert "most of the last 1000 messages were refused" in scenes.problems(scene)["circuit"]


def test_partitions_of_which_nothing_is_taken_are_named(scene: scenes.Scene) -> None:
    scene.consumer.assigned = 0
    scene.consumer.held = ("allocate/1", "allocate/2")
    scene.run()
    assert scenes.problems(scene).keys() == {"assignment"}
    assert scene.standing.items()["partitions"].state == "held until others have caught up: allocate/1, allocate/2"
    scene.stopping.clear()
    scene.consumer.problems = {"allocate/0": "the topic was re-created"}
    scene.run()
    assert scenes.problems(scene)["partitions"] == "allocate/0 is set aside: the topic was re-created"


def test_whoever_listens_is_told_a_conflict_from_an_outage(scene: scenes.Scene) -> None:
    scene.arrive(commands.CreateBatch("b1", "LAMP", 1))
    scene.database.failures = [ports.Retryable("a conflict"), ports.DependencyDown("no database")]
    scene.consumer.arriving.append(ports.DependencyDown("no Kafka"))
    scene.run()
    assert scene.standing.outages == [False, True, True]
