"""Which checks `/readyz` of each part makes, by what is composed for it; nobody is asked for that."""

from __future__ import annotations

import pytest

from allocation import bootstrap, config
from allocation.entrypoints.observing import readiness
from allocation.service_layer import signals
from allocation.service_layer.operations import status


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> config.Settings:
    """Where nobody answers."""
    nowhere = tmp_path_factory.mktemp("nowhere")
    return config.load(
        _env_file=None,
        database_url=f"postgresql+psycopg2://nobody@/nothing?host={nowhere}",
        kafka_bootstrap_servers="127.0.0.1:1",
        redis_url="redis://127.0.0.1:1/0",
        schema_registry_url="http://127.0.0.1:1",
    )


@pytest.mark.parametrize(
    ("part", "others"),
    [
        ("worker", {"schema registry"}),
        ("relay", set()),
        ("bridge", {"schema registry", "redis"}),
        ("maintenance", set()),
    ],
)
def test_each_part_asks_whom_it_cannot_work_without(settings: config.Settings, part: str, others: set[str]) -> None:
    with bootstrap.observation(settings, part=part) as found:
        assert set(found.others) == others


@pytest.mark.parametrize(
    ("part", "unwell"), [("worker", "schema registry"), ("bridge", "schema registry"), ("bridge", "redis")]
)
def test_without_one_of_those_a_part_is_not_ready(settings: config.Settings, part: str, unwell: str) -> None:
    nothing = status.Backlog(0, None)
    figures = status.DatabaseFigures(next_offsets={}, outbox=nothing, quarantined=nothing, parked={}, owners={})
    with bootstrap.observation(settings, part=part) as found:
        answer = readiness.Readiness(
            standing=signals.Standing(),
            database=lambda: figures,
            partitions=lambda: (),
            others={unwell: found.others[unwell]},
            expected=found.expected,
            outbox_age_limit_s=30,
        ).look()
    assert answer.status == 503
    assert isinstance(problems := answer.body["problems"], dict)
    assert "127.0.0.1" in problems[unwell]
