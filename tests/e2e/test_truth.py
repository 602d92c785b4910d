"""Console, `top`, `status` and metrics show what plain SQL and a plain reader of the topics find."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from allocation.devstack import ports
from tests import waiting
from tests.chaos import system as systems
from tests.chaos.oracle import avro, observation, replay
from tests.chaos.oracle import workload as workloads
from tests.e2e import parts, spectators

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from allocation import config
    from tests.chaos.oracle import log as logs
    from tests.chaos.oracle import model

pytestmark = pytest.mark.long

_COMMANDS = 300  # of each mix
_WORKER, _RELAY, _BRIDGE = range(3)  # in the order of their ports
# What the journal calls those that are taken in and wait.
_SET_ASIDE = ("waited", "queued", "poisoned")


@dataclass
class Installation:
    """All parts at rest, after much has happened, and what the oracle has seen of it."""

    system: systems.System
    settings: config.Settings
    seen: observation.Observation

    @property
    def console(self) -> str:
        return f"http://127.0.0.1:{self.settings.console_port}"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.settings.http_port}"

    def metrics(self, part: int) -> spectators.Metrics:
        return spectators.Metrics(f"http://127.0.0.1:{self.settings.health_port + part}")

    def without_prefix(self, by_topic: Mapping[str, int]) -> dict[str, int]:
        return {topic.removeprefix(self.settings.topic_prefix): count for topic, count in by_topic.items()}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("truth")


@pytest.fixture
def installation(initialised: config.Settings, directory: Path) -> Iterator[Installation]:
    health = next(port for port in ports.pick(50) if all(map(ports.is_free, range(port, port + 4))))
    http, console = ports.pick(2)
    settings = initialised.model_copy(
        update={"grace_s": 300.0, "health_port": health, "http_port": http, "console_port": console}
    )
    with systems.running(settings, directory=directory, seed=5) as system:
        system.start("run").await_line("worker.assigned")
        for mix in ("storm", "mixed"):
            stream = system.workload(mix)
            system.send(stream.first())
            system.send(stream.take(_COMMANDS))
            system.send(stream.rest())
        system.send(ahead_of_their_batch(system))
        system.drain(parked=False)
        # Some of what waited is released in transactions of their own, a moment later; then the outbox has rows again.
        waiting.wait_until(lambda: not system.tables.rows("SELECT FROM releases LIMIT 1"))
        system.drain(parked=False)
        # The relay is told of its commit before the broker has written the markers that let it be seen.
        outgoing = (*avro.EVENTS, observation.DEAD_LETTERS, observation.JOURNAL)
        waiting.wait_until(lambda: system.log.ends(outgoing) == system.log.ends(outgoing, committed=False))
        yield Installation(system, settings, system.observe())


def ahead_of_their_batch(system: systems.System) -> list[workloads.Draft]:
    return [
        workloads.Draft(
            "allocate",
            b"NOT-YET",
            avro.encode("allocate", {"orderid": orderid, "sku": "NOT-YET", "qty": 1}, system.schema_ids["allocate"]),
            (),
            "ahead",
        )
        for orderid in ("early-1", "early-2")
    ]


def test_everybody_is_shown_what_is_there(installation: Installation) -> None:
    assert_that_much_has_happened(installation.seen)
    expected = figures(installation)
    with spectators.of_console(installation.console) as console, spectators.of_top(installation.settings) as top:
        for spectator in (console, top):
            # Stock is asked for every five seconds.
            shown = spectator.wait_for(lambda overview: overview["stock"] is not None).overview
            assert of_overview(shown) == expected, spectator.name
            assert shown["alarms"] == [], spectator.name
    assert_top_prints(spectators.printed(installation.settings, "top", "--once"), expected)
    assert_status_says(spectators.json_of(installation.settings, "status", "--json"), expected)
    assert stock_of_console(installation) == stock_of_oracle(installation.seen)
    assert_metrics_count(installation)
    assert_the_story_of_a_moved_line_is_that_of_its_events(installation)


def assert_that_much_has_happened(seen: observation.Observation) -> None:
    """Nothing would be shown by equal zeros."""
    fates = Counter(fate_of(record, seen) for record in seen.commands.values())
    assert all(fates[one] for one in ("handled", "refused", "duplicate", "waits")), fates
    assert {event.topic for event in seen.events} == avro.EVENTS.keys()


def fate_of(record: logs.Record, seen: observation.Observation) -> str:
    """Say what became of a command, from inbox and parked rows alone."""
    if any(at == record.at for _, _, at in seen.parked):
        return "waits"
    fate = seen.fates[seen.identity(record)]
    if fate.at == record.at:
        return fate.outcome
    winner = seen.commands[fate.at]
    same = (winner.topic, (winner.value or b"")[5:]) == (record.topic, (record.value or b"")[5:])
    return "duplicate" if same else "refused"


def figures(installation: Installation) -> dict[str, Any]:
    """Return what is to be shown, as the oracle knows it."""
    seen, log = installation.seen, installation.system.log
    ends, events = log.ends(tuple(avro.COMMANDS)), log.ends(tuple(avro.EVENTS))
    return {
        "lag": 0,
        "outbox": seen.unsent,
        "quarantined": len(seen.quarantined),
        "parked": Counter(state for _, state, _ in seen.parked),
        "dead letters": len(seen.dead_letters),
        "commands": by_topic(ends),
        "handled up to": by_topic(installation.system.handled()),
        "offsets of events": by_topic(events),
        "events": len(seen.events),
        "lines": len(seen.lines),
        "pieces": (sum(one.allocated for one in seen.batches.values()), sum(map(purchased, seen.batches.values()))),
        "batches": len(seen.batches),
        "skus": len(seen.products),
    }


def purchased(batch: observation.BatchRow) -> int:
    return batch.purchased


def by_topic(places: Mapping[tuple[str, int], int]) -> Counter[str]:
    sums: Counter[str] = Counter()
    for (topic, _partition), value in places.items():
        sums[topic] += value
    return +sums


def of_status(status: dict[str, Any]) -> dict[str, Any]:
    ends: Counter[str] = Counter()
    positions: Counter[str] = Counter()
    for one in status["partitions"]:
        topic = without_prefix(one["topic"])
        ends[topic] += one["end"]
        positions[topic] += one["position"]
    assert status["dead_letters"]["is_exact"]
    return {
        "lag": status["lag"],
        "outbox": status["outbox"]["rows"],
        "quarantined": status["quarantined"]["rows"],
        "parked": {state: one["rows"] for state, one in status["parked"].items()},
        "dead letters": status["dead_letters"]["count"],
        "commands": ends,
        "handled up to": positions,
    }


def without_prefix(topic: str) -> str:
    return topic.rpartition(".")[2]


def of_overview(overview: dict[str, Any]) -> dict[str, Any]:
    stock = overview["stock"]
    assert overview["levels"] == {
        "lag": overview["status"]["lag"],
        "outbox": overview["status"]["outbox"]["rows"],
        "parked": sum(one["rows"] for one in overview["status"]["parked"].values()),
    }
    return {
        **of_status(overview["status"]),
        "offsets of events": {without_prefix(one["topic"]): one["offsets"] for one in overview["events"]},
        "events": stock["events"],
        "lines": stock["lines"],
        "pieces": (stock["allocated"], stock["purchased"]),
        "batches": stock["batches"],
        "skus": stock["skus"],
    }


def assert_top_prints(text: str, expected: dict[str, Any]) -> None:
    allocated, purchased = expected["pieces"]
    for shown in (
        "all is well",
        f"lines allocated {expected['lines']:,} ",
        f"pieces {allocated:,} of {purchased:,} ",
        f"batches {expected['batches']:,} ",
        f"SKUs {expected['skus']:,} ",
        f"events {expected['events']:,} ",
        f"dead letters {expected['dead letters']:,}",
    ):
        assert shown in text
    for waits in ("0 +wait for a worker", f"{expected['parked'].total()} +parked", "0 +rows wait for the relay"):
        assert re.search(f" {waits}", text), text


def assert_status_says(status: dict[str, Any], expected: dict[str, Any]) -> None:
    found = of_status(status)
    assert (status["ok"], found) == (True, {name: expected[name] for name in found})


def stock_of_console(installation: Installation) -> dict[str, Any]:
    found = spectators.called(f"{installation.console}/api/stock", count=500)
    assert found["total"] == len(found["skus"])
    return {
        one["sku"]: {
            batch["batchref"]: (batch["allocated"], batch["purchased"], batch["lines"], batch["eta"])
            for batch in one["batches"]
        }
        for one in found["skus"]
    }


def stock_of_oracle(seen: observation.Observation) -> dict[str, Any]:
    """Count what is allocated by the lines, not by the totals of the batches."""
    pieces: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for line, (batchref, _place) in seen.lines.items():
        pieces[batchref] += line.qty
        lines[batchref] += 1
    return {
        sku: {
            ref: (pieces[ref], one.purchased, lines[ref], one.eta and one.eta.isoformat())
            for ref, one in seen.batches.items()
            if one.sku == sku
        }
        for sku in seen.products
    }


def assert_metrics_count(installation: Installation) -> None:
    seen, worker, relay = installation.seen, installation.metrics(_WORKER), installation.metrics(_RELAY)
    outcomes = Counter(worker.by("allocation_commands_total", "outcome"))
    assert outcomes == journaled(seen)
    fates = Counter(fate_of(record, seen) for record in seen.commands.values())
    assert outcomes["duplicate"] == fates["duplicate"]
    assert outcomes["handled"] + outcomes["refused"] + outcomes["released"] == fates["handled"] + fates["refused"]
    assert sum(outcomes[one] for one in _SET_ASIDE) - outcomes["released"] == fates["waits"]

    topics = Counter(record.topic for record in seen.commands.values())
    consumed = worker.by("messaging_client_consumed_messages_total", "messaging_destination_name")
    assert installation.without_prefix(consumed) == topics
    assert worker.total("allocation_events_total") == len(seen.events)
    sent = relay.by("messaging_client_sent_messages_total", "messaging_destination_name")
    events = Counter(event.topic for event in seen.events)
    others = {"allocation.dead_letter": len(seen.dead_letters), "allocation.journal": len(seen.journal_numbers)}
    assert installation.without_prefix(sent) == events | others
    reasons = Counter((letter.header("dead_letter_reason") or b"").decode() for letter in seen.dead_letters)
    assert relay.by("allocation_dead_letters_total", "reason") == reasons
    waiting.wait_until(lambda: delivered(installation) == events["line_allocated"], deadline_s=parts.DEADLINE_S)
    for one in (worker, relay):
        assert one.total("allocation_consumer_lag_messages") == 0
        assert one.total("allocation_outbox_rows") == seen.unsent
        assert one.by("allocation_parked_commands", "state") == Counter(state for _, state, _ in seen.parked)


def delivered(installation: Installation) -> int:
    return installation.metrics(_BRIDGE).by("allocation_bridge_delivered_events_total", "reader").get("redis", 0)


def journaled(seen: observation.Observation) -> Counter[str]:
    """Count commands by what the journal's topic says of them."""
    return sum((Counter({one.what: one.last - one.first + 1}) for one in seen.journal), Counter[str]())


def assert_the_story_of_a_moved_line_is_that_of_its_events(installation: Installation) -> None:
    seen = installation.seen
    events = sorted(seen.events, key=replay.sequence)
    told = [(replay.happened(event, seen), (event.header("ce_causationid") or b"").decode()) for event in events]
    line = next(one.line for one, _ in told if one.topic == "line_deallocated" and one.line in seen.lines)
    found = spectators.called(f"{installation.console}/api/story", kind="order", id=line.orderid)
    steps = [
        (step["what"], step["batchref"], step["command"]["id"])
        for step in found["steps"]
        if step["line"] == line._asdict()
    ]
    expected = [(said(one), one.batchref, cause) for one, cause in told if one.line == line]
    assert (steps, len(steps) > 2) == (expected, True)
    batchref, _place = seen.lines[line]
    assert [one["batchref"] for one in found["lines"]] == [batchref]
    assert spectators.called(f"{installation.api}/allocations/{line.orderid}") == [
        {"sku": line.sku, "batchref": batchref, "qty": line.qty}
    ]


def said(happened: model.Happened) -> str:
    return {"line_allocated": "allocated", "line_deallocated": "deallocated", "out_of_stock": "out of stock"}[
        happened.topic
    ]
