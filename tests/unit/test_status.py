from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.service_layer import messages, ports
from allocation.service_layer.operations import status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LOG = messages.LogPartition("id of allocate", 0)
NOTHING = status.Backlog(0, None)


class OtherInstallation(Exception):
    pass


def kafka(*, begin: int = 0, end: int = 0, missing: tuple[str, ...] = ()) -> status.KafkaFigures:
    return status.KafkaFigures(
        cluster_id="this",
        partitions=(status.Partition("allocate", LOG, begin, end, None),),
        missing_topics=missing,
        dead_letters=status.DeadLetters(0, is_exact=True),
        members=(),
    )


def database(next_offsets: Mapping[messages.LogPartition, int] | None = None) -> status.DatabaseFigures:
    return status.DatabaseFigures(
        next_offsets=next_offsets or {}, outbox=NOTHING, quarantined=NOTHING, parked={}, owners={}
    )


def look(
    *,
    kafka: Callable[[], status.KafkaFigures] = kafka,
    database: Callable[[], status.DatabaseFigures] = database,
    belongs_to: str = "this",
    others: Mapping[str, Callable[[], object]] | None = None,
) -> status.Status:
    def fits(*, cluster_id: str) -> None:
        if cluster_id != belongs_to:
            raise OtherInstallation(belongs_to)

    return status.Inspection(
        kafka=kafka, database=database, fits=fits, others=others or {}, expected=(ports.Retryable, OtherInstallation)
    ).look()


def down() -> status.KafkaFigures:
    raise ports.DependencyDown("it is down")


def database_down() -> status.DatabaseFigures:
    raise ports.DependencyDown("it is down")


def test_lag_is_what_lies_between_the_databases_position_and_the_end() -> None:
    found = look(kafka=lambda: kafka(end=10), database=lambda: database({LOG: 7}))
    assert found.lags == (status.Lag("allocate", 0, position=7, end=10, lag=3, committed=None),)
    assert found.problems == {}


def test_a_partition_without_a_position_is_behind_from_its_beginning() -> None:
    found = look(kafka=lambda: kafka(begin=4, end=10))
    assert [(lag.position, lag.lag) for lag in found.lags] == [(4, 6)]


def test_the_position_in_another_topic_of_the_same_name_does_not_count() -> None:
    found = look(
        kafka=lambda: kafka(end=10), database=lambda: database({messages.LogPartition("id of the old one", 0): 7})
    )
    assert [lag.lag for lag in found.lags] == [10]


def test_a_position_beyond_the_end_is_no_negative_lag() -> None:
    assert [lag.lag for lag in look(kafka=lambda: kafka(end=2), database=lambda: database({LOG: 7})).lags] == [0]


def test_without_kafka_the_database_is_shown_all_the_same() -> None:
    found = look(kafka=down)
    assert found.problems == {"Kafka": "it is down"}
    assert found.database == database()
    assert found.lags == ()


def test_without_the_database_kafka_is_shown_all_the_same() -> None:
    found = look(database=database_down)
    assert found.problems == {"database": "it is down"}
    assert found.kafka == kafka()
    assert found.lags == ()


def test_every_other_part_that_is_down_is_named() -> None:
    found = look(kafka=down, others={"Redis": down, "schema registry": lambda: None})
    assert list(found.problems) == ["Kafka", "Redis"]


def test_missing_topics_are_named_with_the_remedy() -> None:
    problem = look(kafka=lambda: kafka(missing=("a", "b"))).problems["topics"]
    assert problem == "a, b: missing; `allocation init` creates the topics"


def test_a_database_of_another_installation_is_a_problem() -> None:
    assert look(belongs_to="that").problems == {"installation": "that"}
