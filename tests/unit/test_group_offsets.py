"""A group from outside, of a cluster that is not ready at first."""

from __future__ import annotations

from concurrent import futures
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest

from allocation.adapters.kafka import clients, errors, group_offsets

if TYPE_CHECKING:
    from collections.abc import Sequence

_NOBODY = SimpleNamespace(members=[])


class Describing:
    """In the place of Kafka's client: answers one after another."""

    def __init__(self, *answers: int | SimpleNamespace) -> None:
        self.left = list(answers)

    def describe_consumer_groups(self, names: Sequence[str], **_: Any) -> dict[str, futures.Future[Any]]:
        future: futures.Future[Any] = futures.Future()
        answer = self.left.pop(0)
        if isinstance(answer, int):
            future.set_exception(confluent_kafka.KafkaException(confluent_kafka.KafkaError(answer)))
        else:
            future.set_result(answer)
        return dict.fromkeys(names, future)


def a_group(client: Describing) -> group_offsets.GroupOffsets:
    group = group_offsets.GroupOffsets(clients.ClientConfig("nowhere:9092", {}), group="allocation")
    group._admin = client  # type: ignore[assignment]  # noqa: SLF001
    return group


@pytest.mark.parametrize("code", ["NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS"])
def test_a_cluster_that_is_not_ready_is_asked_again(code: str) -> None:
    client = Describing(*[getattr(confluent_kafka.KafkaError, code)] * 2, _NOBODY)
    assert a_group(client).members() == ()
    assert client.left == []


def test_one_that_refuses_is_not() -> None:
    client = Describing(confluent_kafka.KafkaError.GROUP_AUTHORIZATION_FAILED, _NOBODY)
    with pytest.raises(errors.KafkaRefused, match="cannot describe group allocation"):
        a_group(client).members()
    assert client.left == [_NOBODY]
