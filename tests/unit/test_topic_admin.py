"""What the broker answers when it has stood still for some seconds."""

from __future__ import annotations

from concurrent import futures
from types import SimpleNamespace
from typing import Any

import confluent_kafka
import pytest

from allocation.adapters.kafka import clients, errors, topics

AT = topics.TopicPartition("allocate", 0)


class FakeAdmin:
    """Refuses to list offsets, so often, with this code."""

    def __init__(self, code: int, *, times: int) -> None:
        self._code = code
        self._left = times

    def list_offsets(self, wanted: dict[Any, Any], **_: Any) -> dict[Any, futures.Future[Any]]:
        answer: futures.Future[Any] = futures.Future()
        if self._left:
            self._left -= 1
            answer.set_exception(confluent_kafka.KafkaException(confluent_kafka.KafkaError(self._code)))
        else:
            answer.set_result(SimpleNamespace(offset=7))
        return dict.fromkeys(wanted, answer)


def an_admin(monkeypatch: pytest.MonkeyPatch, code: int, *, times: int) -> topics.TopicAdmin:
    subject = topics.TopicAdmin(clients.ClientConfig("127.0.0.1:1"))
    monkeypatch.setattr(subject, "_admin", FakeAdmin(code, times=times))
    return subject


@pytest.mark.parametrize(
    "code", [confluent_kafka.KafkaError.UNKNOWN_LEADER_EPOCH, confluent_kafka.KafkaError.FENCED_LEADER_EPOCH]
)
def test_a_broker_that_has_not_heard_of_its_leaders_yet_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    subject = an_admin(monkeypatch, code, times=2)
    assert subject.high_watermarks([AT]) == {AT: 7}


def test_one_that_leads_no_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = an_admin(monkeypatch, confluent_kafka.KafkaError.NOT_LEADER_FOR_PARTITION, times=1)
    with pytest.raises(errors.NotReady, match="is not ready"):
        subject.high_watermarks([AT])
