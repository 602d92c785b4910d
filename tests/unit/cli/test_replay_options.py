from __future__ import annotations

import pytest
import typer

from allocation import config
from allocation.entrypoints.cli import failures, replay_options
from allocation.service_layer.operations.replay import ports, targets

SETTINGS = config.Settings.model_construct(topic_prefix="shop.")
TOPICS = ("shop.allocate", "shop.create_batch", "shop.allocation.journal")


@pytest.mark.parametrize("given", ["allocate", "shop.allocate"])
def test_a_topic_is_named_with_or_without_the_prefix(given: str) -> None:
    assert replay_options.topic(SETTINGS, given, of=TOPICS) == "shop.allocate"


def test_without_a_topic_all_are_meant_and_one_that_is_named_twice_is_meant_once() -> None:
    assert replay_options.topics(SETTINGS, None, of=TOPICS) == TOPICS
    assert replay_options.topics(SETTINGS, ["journal", "allocation.journal"], of=TOPICS) == TOPICS[2:]


def test_another_topic_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(typer.BadParameter, match="'orders' is not among allocate, create_batch"):
        replay_options.topic(SETTINGS, "orders", of=TOPICS)


def test_one_place_is_given_and_only_one() -> None:
    assert replay_options.target(to_offset=None, to_timestamp=None, by=-5) == targets.Back(5)
    assert replay_options.target(to_offset=0, to_timestamp=None) == targets.ToOffset(0)
    for to_offset, to_earliest in ((None, False), (3, True)):
        with pytest.raises(typer.BadParameter, match="say where to"):
            replay_options.target(to_offset=to_offset, to_timestamp=None, to_earliest=to_earliest)


def test_what_cannot_be_replayed_is_a_failure_and_no_wrong_usage() -> None:
    told = failures.explain(ports.MembersActive(["w1 on 10.0.0.7"]))
    assert told is not None
    assert (told.status, "w1 on 10.0.0.7" in told.sentence) == (1, True)
