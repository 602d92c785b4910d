"""What becomes of a client that an earlier row has ended while later ones are given to it."""

from __future__ import annotations

from typing import Any

import confluent_kafka
import pytest

from allocation.adapters.kafka import clients, relay_idempotent
from allocation.service_layer.relaying import checkpoints, ports

CHECKPOINT = checkpoints.Checkpoint(database_id="d", incarnation="i", number=1)
ROWS: list[ports.Row] = [(number, "events", None, b"key", b"value", "[]") for number in (1, 2)]


class EndedProducer:
    """Says with the second row that it is of no use any more, and why when it is flushed."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._report = settings["on_delivery"]
        self._given = 0

    def produce(self, *_: object) -> None:
        self._given += 1
        if self._given > 1:
            raise confluent_kafka.KafkaException(confluent_kafka.KafkaError(confluent_kafka.KafkaError._FATAL))  # noqa: SLF001 - the client's own codes begin so

    def flush(self, _timeout_s: float) -> int:
        message = type("Message", (), {"topic": lambda _self: "events"})()
        self._report(confluent_kafka.KafkaError(confluent_kafka.KafkaError.MSG_SIZE_TOO_LARGE), message)
        return 0

    def purge(self) -> None:
        """Drop nothing: there is nothing."""


def test_the_row_that_ended_the_client_decides_what_its_end_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confluent_kafka, "Producer", EndedProducer)
    with (
        relay_idempotent.open_log(clients.ClientConfig("nowhere:1")) as log,
        pytest.raises(ports.Refused, match="refuses it for events"),
    ):
        log.send(ROWS, CHECKPOINT)
