from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING

from allocation.entrypoints.cli import status
from allocation.entrypoints.overseeing import parts
from allocation.service_layer import messages
from allocation.service_layer.operations import status as operation

if TYPE_CHECKING:
    import pytest

NOTHING = operation.Backlog(0, None)
LOG = messages.LogPartition("id", 0)

BUSY = operation.Status(
    kafka=operation.KafkaFigures(
        cluster_id="here",
        partitions=(operation.Partition("allocate", LOG, 0, 12_000, 500),),
        missing_topics=(),
        dead_letters=operation.DeadLetters(40_000, is_exact=False),
        members=(operation.Member("vm-1", "10.0.0.1", 18),),
    ),
    database=operation.DatabaseFigures(
        next_offsets={LOG: 1000},
        outbox=operation.Backlog(3, 1.25),
        quarantined=operation.Backlog(1, 60.0),
        parked={"waiting": operation.Backlog(2, 5.0), "queued": NOTHING},
        owners={"relay-0": "vm:17"},
        maintained_at=datetime.datetime(2030, 1, 1, 12, tzinfo=datetime.UTC),
    ),
)


WELL = parts.Health(
    "http://vm:5006", "", {}, {"work": "ok", "partitions": "held until others have caught up: allocate/1"}
)
OPEN = parts.Health("http://vm:5007", "at http://vm:5007 is not ready: circuit: it is open", {"circuit": "it is open"})


def shown(
    found: operation.Status, capsys: pytest.CaptureFixture[str], asked: dict[str, parts.Health] | None = None
) -> dict[str, str]:
    """Return what follows the first word or two of each line."""
    status.show(found, asked or {})
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    pairs = [line.partition("  ") for line in lines if "  " in line]
    return {name: text.strip() for name, _, text in pairs}


def test_people_see_what_waits_and_who_works(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(BUSY, capsys)
    assert lines["allocate"].split() == ["0", "1,000", "12,000", "11,000", "500"]
    assert lines["lag"] == "11,000"
    assert lines["outbox"] == "3 (the oldest for 1.2 s)"
    assert lines["quarantined"] == "1 (the oldest for 60.0 s)"
    assert lines["parked"] == "queued 0, waiting 2 (the oldest for 5.0 s)"
    assert lines["relay-0"] == "vm:17"
    assert lines["maintained"] == "2030-01-01 12:00:00 UTC"
    assert lines["worker"] == "vm-1 on 10.0.0.1, 18 partitions"
    assert lines["dead letters"] == "at most 40,000"


def test_people_see_each_problem_in_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(operation.Status(problems={"Kafka": "down [at\nleast here]"}), capsys)
    assert lines.pop("parts") == "not asked how they are: ALLOCATION_CONSOLE_PARTS names none"
    assert lines == {"Kafka": "down [at least here]"}


def test_people_see_which_partitions_are_held_and_whose_circuit_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(operation.Status(), capsys, {"worker-1": WELL, "worker-2": OPEN})
    assert lines == {
        "worker-1": "ready, partitions held until others have caught up: allocate/1",
        "worker-2": "at http://vm:5007 is not ready: circuit: it is open",
    }


def test_programs_see_each_check_of_each_part_that_was_asked() -> None:
    figures = json.loads(json.dumps(status.all_figures(operation.Status(), {"worker-1": WELL, "worker-2": OPEN})))
    assert (figures["ok"], figures["problems"]) == (False, {"worker-2": OPEN.problem})
    assert figures["parts"]["worker-2"]["problems"] == {"circuit": "it is open"}
    assert figures["parts"]["worker-1"]["well"]["partitions"] == "held until others have caught up: allocate/1"
    assert status.all_figures(operation.Status(), {"worker-1": WELL})["ok"]


def test_programs_see_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    figures = json.loads(json.dumps(status.figures(BUSY)))
    assert capsys.readouterr().out == ""
    assert (figures["ok"], figures["lag"]) == (True, 11_000)
    assert figures["partitions"] == [
        {"topic": "allocate", "partition": 0, "position": 1000, "end": 12_000, "lag": 11_000, "committed": 500}
    ]
    assert figures["maintained_at"] == "2030-01-01T12:00:00+00:00"
    assert figures["parked"]["waiting"] == {"rows": 2, "oldest_age_s": 5.0}
    assert figures["dead_letters"] == {"count": 40_000, "is_exact": False}


def test_programs_see_null_for_what_is_not_known() -> None:
    figures = status.figures(operation.Status(problems={"Kafka": "down"}))
    assert figures["ok"] is False
    assert figures["problems"] == {"Kafka": "down"}
    assert [figures[name] for name in ("lag", "outbox", "dead_letters", "members")] == [None] * 4
