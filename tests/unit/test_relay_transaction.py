"""What becomes of errors that the Kafka client reports in its own way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import confluent_kafka
import pytest

from allocation.adapters.kafka import clients, relay_transaction
from allocation.service_layer import ports as outside
from allocation.service_layer.relaying import checkpoints, ports

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKPOINT = checkpoints.Checkpoint(database_id="d", incarnation="i", number=1, runs=())
FENCED = confluent_kafka.KafkaException(confluent_kafka.KafkaError(confluent_kafka.KafkaError._FENCED))  # noqa: SLF001 - the client's own codes begin so


def raises(cause: BaseException | None) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise SystemError("returned NULL without setting an exception") from cause

    return fail


@pytest.mark.parametrize(
    ("cause", "fate"), [(FENCED, ports.Superseded), (None, outside.DependencyDown)], ids=["fenced", "unknown"]
)
def test_a_client_that_fails_in_a_callback_does_not_end_the_relay(
    cause: BaseException | None, fate: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = type("Producer", (), {"begin_transaction": raises(cause), "purge": lambda _self: None})
    monkeypatch.setattr(confluent_kafka, "Producer", lambda _settings: fake())
    log = relay_transaction.RelayTransactions(
        clients.ClientConfig("nowhere:1"), topic="checkpoints", shard=0, transactional_id="t"
    )
    with pytest.raises(fate):
        log.send([], CHECKPOINT)
    log.close()
