from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from tests.containers import system

if TYPE_CHECKING:
    from tests.containers import events

pytestmark = pytest.mark.containers


def test_commands_sent_while_the_worker_is_dead_are_handled_when_it_is_back(
    unique: str, kafka_events: events.Reader
) -> None:
    sku, ref, order = f"DESK-{unique}", f"batch-{unique}", f"order-{unique}"
    system.post("/add_batch", ref=ref, sku=sku, qty=10, eta=None)

    system.kill("worker")
    answer = system.call("POST", "/allocate", orderid=order, sku=sku, qty=4)
    system.start("worker")

    assert answer.status_code == 202
    assert kafka_events.wait_for("line_allocated", orderid=order).fields["batchref"] == ref
    assert system.call("GET", f"/commands/{answer.json()['commandid']}").status_code == 200


def test_everything_killed_and_started_again_goes_on_with_its_data(unique: str, kafka_events: events.Reader) -> None:
    sku, ref, before, after = f"SOFA-{unique}", f"batch-{unique}", f"before-{unique}", f"after-{unique}"
    system.post("/add_batch", ref=ref, sku=sku, qty=10, eta=None)
    system.post("/allocate", orderid=before, sku=sku, qty=4)
    schema_ids = _schema_ids()

    system.kill(*system.PARTS, *system.INFRASTRUCTURE)
    system.start(*system.INFRASTRUCTURE, *system.PARTS)

    assert _schema_ids() == schema_ids
    assert system.call("GET", f"/allocations/{before}").json()[0]["batchref"] == ref
    system.post("/allocate", orderid=after, sku=sku, qty=6)
    assert kafka_events.wait_for("line_allocated", orderid=after).fields["batchref"] == ref
    verified = system.verify()
    assert verified.returncode == 0, verified.stdout + verified.stderr


def _schema_ids() -> dict[str, int | None]:
    """Return the ids that messages in Kafka name; other ids for the same schemas would garble them."""
    with SchemaRegistryClient({"url": system.REGISTRY_URL}) as registry:
        return {subject: registry.get_latest_version(subject).schema_id for subject in registry.get_subjects()}
