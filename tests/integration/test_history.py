"""What happened to orders, skus and batches, as worker and relay left it on the topics, from the command line."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

from allocation import bootstrap
from allocation.adapters.kafka import log_reader
from tests import murmur2
from tests.integration import operator_commands, settled

if TYPE_CHECKING:
    from allocation import config

BEFORE: list[settled.Given] = [("Allocate", {"orderid": "o1", "sku": "CHAIR", "qty": 3}, "order-1")]  # waits
STOCK: list[settled.Given] = [
    ("CreateBatch", {"ref": "early", "sku": "CHAIR", "qty": 10, "eta": None}, "stock-1"),
    ("CreateBatch", {"ref": "late", "sku": "CHAIR", "qty": 4, "eta": "2030-02-01"}, "stock-2"),
]
ORDERS: list[settled.Given] = [
    ("Allocate", {"orderid": "o2", "sku": "CHAIR", "qty": 4}, "order-2"),
    ("Allocate", {"orderid": "o3", "sku": "CHAIR", "qty": 9}, "order-3"),  # out of stock
    ("Allocate", {"orderid": "o1", "sku": "CHAIR", "qty": 3}, "order-1-again"),  # is allocated
    ("Allocate", {"orderid": "o2", "sku": "LAMP", "qty": 1}, "order-4"),  # refused in the end
]
CONFLICT: settled.Given = ("CreateBatch", {"ref": "early", "sku": "CHAIR", "qty": 11, "eta": None}, "other-stock")
SHRINK: settled.Given = ("ChangeBatchQuantity", {"batchref": "early", "qty": 5, "sku": None}, "shrink")


@pytest.fixture
def commands(initialised: config.Settings) -> operator_commands.Commands:
    """An installation in which much has happened."""
    with settled.running(initialised.model_copy(update={"grace_s": 600.0})):
        settled.send(initialised, BEFORE)
        settled.wait_until_settled(initialised, seen=1, parked=1)
        settled.send(initialised, STOCK)
        settled.wait_until_settled(initialised, seen=3)
    with settled.running(initialised):
        for seen, given in ((7, ORDERS), (8, [CONFLICT]), (9, [SHRINK])):
            settled.send(initialised, given)
            settled.wait_until_settled(initialised, seen=seen)
    return operator_commands.Commands(initialised)


def told(found: dict[str, Any], sku: str = "CHAIR") -> list[tuple[str, str | None, str]]:
    """The steps that concern a sku: what, which batch, and the id of the command."""
    return [(one["what"], one["batchref"], one["command"]["id"]) for one in found["steps"] if one["sku"] == sku]


def test_what_happened_is_told_with_its_causes_and_as_of_any_time(
    commands: operator_commands.Commands, initialised: config.Settings
) -> None:
    (order,) = commands.lines("show", "order", "o2", "--json")
    assert told(order) == [
        ("allocated", "early", "order-2"),
        ("deallocated", "early", "shrink"),
        ("allocated", "late", "shrink"),
    ]
    assert told(order, "LAMP") == [("waited", None, "order-4"), ("refused", None, "order-4")]
    shrink = order["steps"][-1]
    assert shrink["command"]["topic"].endswith("change_batch_quantity")
    assert (shrink["command"]["offset"], shrink["detail"]) == (0, None)
    assert shrink["command"]["partition"] == murmur2.partition(b"early", initialised.partitions)
    (record,) = log_reader.LogReader(bootstrap.kafka_clients(initialised)).read([shrink["command"]["topic"]])
    sent_at = datetime.fromisoformat(shrink["command"]["sent_at"])
    assert round(sent_at.timestamp() * 1000) == record.timestamp_ms
    assert order["steps"][-2]["detail"] == "to late"
    (refused,) = (step for step in order["steps"] if step["what"] == "refused")
    assert refused["detail"].startswith("invalid_sku: Invalid sku LAMP")
    assert [(line["sku"], line["batchref"], line["state"]) for line in order["lines"]] == [
        ("CHAIR", "late", "allocated"),
        ("LAMP", None, "refused"),
    ]

    (before,) = commands.lines("show", "order", "o2", "--json", "--at", refused["at"])
    assert {line["sku"]: line["batchref"] for line in before["lines"]} == {"CHAIR": "early", "LAMP": None}

    (batch,) = commands.lines("show", "batch", "early", "--json")
    assert told(batch) == [
        ("created", "early", "stock-1"),
        ("allocated", "early", "order-1"),
        ("allocated", "early", "order-2"),
        ("refused", "early", "other-stock"),
        ("changed", "early", "shrink"),
        ("deallocated", "early", "shrink"),
    ]
    assert [(one["batchref"], one["purchased"], one["allocated"]) for one in batch["batches"]] == [("early", 5, 3)]

    (sku,) = commands.lines("show", "sku", "CHAIR", "--json")
    assert ("waited", None, "order-1") in told(sku)
    assert ("no change", None, "order-1-again") in told(sku)
    assert ("out of stock", None, "order-3") in told(sku)
    assert {one["batchref"]: (one["purchased"], one["allocated"]) for one in sku["batches"]} == {
        "early": (5, 3), "late": (4, 4),
    }  # fmt: skip
    assert json.dumps(sku)

    for kind, id_, drawn in (
        ("order", "o2", "4 of CHAIR"),
        ("batch", "early", "3 of 5, in the warehouse"),
        ("sku", "CHAIR", "4 of 4, ETA 2030-02-01"),
    ):
        shown = commands.run("show", kind, id_)
        assert (shown.returncode, shown.stderr) == (0, "")
        assert drawn in shown.stdout

    unknown = commands.run("show", "order", "o9")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "allocation: no command that names order o9 is on the topics\n"
    assert commands.run("show", "order", "o2", "--at", "yesterday").returncode == 2
