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
FATAL = confluent_kafka.KafkaException(confluent_kafka.KafkaError(confluent_kafka.KafkaError._FATAL))  # noqa: SLF001
NO_EXCEPTION = SystemError("returned NULL without setting an exception")


def raises(error: BaseException, *, cause: BaseException | None = None) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error from cause

    return fail


def ends(*_: object) -> None:
    pass


@pytest.mark.parametrize(
    ("begin", "abort", "fate"),
    [
        (raises(NO_EXCEPTION, cause=FENCED), ends, ports.Superseded),
        (raises(NO_EXCEPTION), raises(FENCED), ports.Superseded),
        (raises(NO_EXCEPTION), ends, outside.DependencyDown),
        (raises(FATAL), raises(FENCED), ports.Superseded),
        (raises(FATAL), ends, outside.DependencyDown),
    ],
    ids=["fenced", "fenced, told later", "unknown", "fatal, fenced", "fatal"],
)
def test_a_client_that_does_not_say_how_it_fails_does_not_end_the_relay(
    begin: Callable[..., None], abort: Callable[..., None], fate: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = {"begin_transaction": begin, "abort_transaction": abort, "purge": lambda _self: None}
    fake = type("Producer", (), methods)
    monkeypatch.setattr(confluent_kafka, "Producer", lambda _settings: fake())
    log = relay_transaction.RelayTransactions(
        clients.ClientConfig("nowhere:1"), topic="checkpoints", shard=0, transactional_id="t"
    )
    with pytest.raises(fate):
        log.send([], CHECKPOINT)
    log.close()
