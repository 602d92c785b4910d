"""Where a log holds what was sent when: on a real broker, with times of records that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest
from structlog import testing

from allocation import bootstrap
from allocation.adapters.kafka import ordered_logs
from allocation.adapters.postgres import tables
from allocation.bootstrap import connections
from tests import databases, kafka_logs
from tests.integration import operator_commands, test_replay_operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import sqlalchemy

    from allocation import config, devstack

FIRST = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)  # recent: retention takes none of it
MIDWAY = FIRST + timedelta(seconds=3.5)
REWIND = ("replay", "rewind", "--topic", "allocate")
TRIED = ("--dry-run", "--json", "--why", "a test")


def second(number: int) -> datetime:
    return FIRST + timedelta(seconds=number)


def put(endpoints: devstack.Endpoints, records: Iterable[tuple[str, int, int]], values: Iterable[bytes] = ()) -> None:
    """Put a record, as if sent in that second, on each topic and partition, in this order."""
    producer, given = confluent_kafka.Producer(kafka_logs.a_config(endpoints).producer()), iter(values)
    for topic, partition, number in records:
        sent_at_ms = int(second(number).timestamp() * 1000)
        producer.produce(topic, next(given, b"value"), b"key", partition, timestamp=sent_at_ms)
    assert producer.flush(10) == 0


def test_logs_are_read_by_time_then_topic_partition_and_offset_up_to_a_moment(endpoints: devstack.Endpoints) -> None:
    one, other = sorted(kafka_logs.a_topic(endpoints, partitions=2) for _ in range(2))
    put(
        endpoints,
        [
            *((other, 0, number) for number in (1, 2, 2, 5)),
            *((other, 1, number) for number in (0, 2)),
            *((one, 1, number) for number in (2, 2, 4)),
            *((one, 0, number) for number in (2, 3)),
        ],
    )
    by_time = [
        *((other, 1, 0), (other, 0, 0)),
        *((one, 0, 0), (one, 1, 0), (one, 1, 1), (other, 0, 1), (other, 0, 2), (other, 1, 1)),  # all in one second
        *((one, 0, 1), (one, 1, 2), (other, 0, 3)),
    ]

    def read(until: datetime | None) -> list[tuple[str, int, int]]:
        with ordered_logs.open_logs(kafka_logs.a_config(endpoints), [other, one], starts={}) as logs:
            return [(record.topic, record.partition, record.offset) for record in logs.in_order_of_time(until=until)]

    assert read(None) == by_time
    assert read(second(2)) == by_time[:8]


@pytest.fixture(scope="module")
def installation(endpoints: devstack.Endpoints) -> Iterator[config.Settings]:
    """Logs of known times; of `allocate`, partition 0 has lost its first two records and is handled up to 5."""
    with databases.fresh(endpoints) as database:
        settings = databases.settings_in(database, endpoints, partitions=2)
        bootstrap.initialise(settings, on_progress=lambda _text: None)
        names = bootstrap.topic_names(settings)
        allocate, allocated = names.allocate, names.line_allocated
        put(endpoints, [*((allocate, 0, number) for number in range(8)), *((allocate, 1, one) for one in (1, 3, 5))])
        kafka_logs.delete_records(endpoints, allocate, before=2)
        events = [(allocated, partition, number) for partition in (0, 1) for number in (1, 2, 3, 4)]
        put(endpoints, events, _values(settings, database, (f"e{one}-{number}" for _, one, number in events)))
        with database.begin() as connection:
            handled = tables.positions.c.topic == allocate, tables.positions.c.partition == 0
            assert connection.execute(tables.positions.update().where(*handled).values(next_offset=5)).rowcount == 1
        test_replay_operation.commit_as_any_client(settings, {(allocate, 0): 5})
        yield settings


def _values(settings: config.Settings, database: sqlalchemy.Engine, orderids: Iterable[str]) -> list[bytes]:
    with connections.serde(settings, database) as serde:
        return [
            serde.serialize("LineAllocated", {"orderid": orderid, "sku": "LAMP", "qty": 1, "batchref": "b1"})
            for orderid in orderids
        ]


@pytest.fixture
def cli(installation: config.Settings) -> Iterator[operator_commands.Commands]:
    with testing.capture_logs():  # they would stand among what the commands print
        yield operator_commands.Commands(installation)


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (MIDWAY, [{"start": 4, "covered": 4, "is_cut": False}, {"start": 2, "covered": 1, "is_cut": False}]),
        (second(3), [{"start": 3, "covered": 5, "is_cut": False}, {"start": 1, "covered": 2, "is_cut": False}]),
        (second(1), [{"start": 2, "covered": 6, "is_cut": True}, {"start": 0, "covered": 3, "is_cut": False}]),
        (second(9), [{"start": 8, "covered": 0, "is_cut": False}, {"start": 3, "covered": 0, "is_cut": False}]),
    ],
    ids=["between records", "at a record", "before what is left", "after all"],
)
def test_a_plan_tells_what_a_replay_from_a_moment_reads_and_what_is_gone(
    installation: config.Settings, cli: operator_commands.Commands, since: datetime, expected: list[dict[str, Any]]
) -> None:
    known = [
        {"partition": 0, "begin": 2, "first_at": second(2), "end": 8, "newest_at": second(7), "removed": 2}
        | {"position": 5, "committed": 5},
        {"partition": 1, "begin": 0, "first_at": second(1), "end": 3, "newest_at": second(5), "removed": 0}
        | {"position": 0, "committed": None},
    ]
    topic = bootstrap.topic_names(installation).allocate
    planned = cli.lines("replay", "plan", "--from", since.isoformat(), "--topic", "allocate", "--json")
    for line in planned:
        line |= {name: datetime.fromisoformat(line[name]) for name in ("first_at", "newest_at")}
    assert planned == [{"topic": topic} | one | more for one, more in zip(known, expected, strict=True)]


@pytest.mark.parametrize(
    ("command", "fields", "expected"),
    [
        ((*REWIND, "--by", "-1"), ("partition", "target", "read_again"), [(0, 4, 1), (1, 0, 0)]),
        ((*REWIND, "--by", "-9"), ("partition", "target", "read_again"), [(0, 2, 3), (1, 0, 0)]),
        ((*REWIND, "--to-offset", "3", "--partition", "0"), ("partition", "target", "read_again"), [(0, 3, 2)]),
        (
            (*REWIND, "--to-timestamp", MIDWAY.isoformat()),
            ("partition", "target", "read_again"),
            [(0, 4, 1), (1, 0, 0)],  # never ahead of the position, although that is at 2
        ),
        (
            ("replay", "skip", "allocate", "--partition", "1", "--to-timestamp", MIDWAY.isoformat()),
            ("first", "last", "commands"),
            [(0, 1, 2)],
        ),
        (
            ("replay", "skip", "allocate", "--partition", "0", "--to-timestamp", second(9).isoformat()),
            ("first", "last", "commands"),
            [(5, 7, 3)],
        ),
        (
            ("replay", "resend", "--from", second(2).isoformat(), "--to", MIDWAY.isoformat()),
            ("orderid",),
            [("e0-2",), ("e0-3",), ("e1-2",), ("e1-3",)],
        ),
        (
            ("replay", "resend", "--from", second(3).isoformat(), "--to", second(4).isoformat()),
            ("orderid",),
            [("e0-3",), ("e1-3",)],
        ),
    ],
    ids=[  # without times: processes that run tests side by side must agree on them
        "rewind by one",
        "rewind further than there are records",
        "rewind to an offset",
        "rewind to a time",
        "skip to a time",
        "skip all",
        "resend of a time",
        "resend up to the second before",
    ],
)
def test_a_dry_run_tells_what_would_be_done_and_does_nothing(
    installation: config.Settings,
    cli: operator_commands.Commands,
    command: tuple[str, ...],
    fields: tuple[str, ...],
    expected: list[tuple[Any, ...]],
) -> None:
    told = cli.lines(*command, *TRIED)
    assert sorted(tuple(line[name] for name in fields) for line in told) == expected
    topic = bootstrap.topic_names(installation).allocate
    assert test_replay_operation.committed(installation) == {(topic, 0): 5}
    assert test_replay_operation.positions(installation) == {(topic, 0): 5}
    assert test_replay_operation.rows(installation, "SELECT * FROM outbox") == []
    assert test_replay_operation.audited(installation) == []
