"""What is wrong with a command is said before anything is connected: nothing listens at these addresses."""

from __future__ import annotations

import pytest
import structlog
from typer import testing

from allocation.entrypoints.cli import app

NOWHERE = {
    "ALLOCATION_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "ALLOCATION_DATABASE_URL": "postgresql+psycopg2://nobody@127.0.0.1:1/nothing",
    "ALLOCATION_LOG_FORMAT": "json",
    "COLUMNS": "300",
}
WHY = ("--why", "a test")
PROMOTED = ("replay", "rebuild", "--into", "trial", "--promote")
REWIND = ("replay", "rewind", "--to-earliest", *WHY)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("parked", "release", *WHY), "say which commands are meant"),
        (("parked", "list", "--state", "broken"), "'broken' is none of waiting, queued, poisoned"),
        (("parked", "list", "--queue", "LAMP"), "'LAMP' is neither sku:SKU nor ref:BATCHREF"),
        (("dlq", "redrive", *WHY), "by PARTITION:OFFSET, a filter or --all"),
        (("dlq", "redrive", "--all", "--why", " "), "say why, for the audit"),
        (("dlq", "show", "17"), "'17' is no place, such as 3:17"),
        (("dlq", "list", "--reason", "broken"), "broken: no such reason; there are conflict, failed, id_reused"),
        (("dlq", "list", "--since", "yesterday"), "Invalid value for '--since': 'yesterday' is no time"),
        (
            ("dlq", "list", "--until", "2030-01-31T08:00"),
            "Invalid value for '--until': '2030-01-31T08:00' names no zone",
        ),
        (("audit", "--since", "2030-01-31"), "names no zone"),
        (("show", "sku", "LAMP", "--at", "2030-01-31T08:00"), "names no zone"),
        (("replay", "skip", "orders", "--partition", "0", "--to-offset", "1", *WHY), "'orders' is not among"),
        (
            (*REWIND, "--only", "allocate"),
            "Invalid value for --only: goes with --again; without it say --topic",
        ),
        ((*REWIND, "--again"), "Invalid value for --only: must be allocate"),
        ((*REWIND, "--again", "--only", "create_batch"), "Invalid value for --only: must be allocate"),
        ((*REWIND, "--again", "--only", "orders"), "'orders' is not among"),
        ((*REWIND, "--again", "--topic", "allocate"), "--again goes with --only, and neither with --topic nor"),
        (
            (*REWIND, "--again", "--only", "allocate", "--topic", "allocate"),
            "--again goes with --only, and neither with --topic nor",
        ),
        (
            (*REWIND, "--again", "--only", "allocate", "--wait"),
            "--again goes with --only, and neither with --topic nor",
        ),
        ((*REWIND, "--by", "-1"), "say where to, by one option"),
        (
            ("replay", "rebuild", "--into", "trial", "--outbound", "a b"),
            "Invalid value for --outbound: 'a b' is neither",
        ),
        (("replay", "rebuild", "--into", "trial", "--dry-run", "--compare"), "Invalid value for --compare"),
        ((*PROMOTED, "--until", "2030-01-31T08:00Z", *WHY), "Invalid value for --promote: goes with none of"),
        ((*PROMOTED, "--database-url", "postgresql://x", *WHY), "Invalid value for --promote: goes with none of"),
        ((*PROMOTED, "--dry-run", *WHY), "Invalid value for --promote: goes with none of"),
        (PROMOTED, "say why, for the audit"),
        (("replay", "rebuild", "--into", "trial", *WHY), "Invalid value for --why: goes with --promote"),
        (("maintenance", "--json"), "Invalid value for --json: goes with --once or --dry-run"),
        (("outbox", "release", *WHY), "Missing argument"),
        (("down", "--volumes"), "No such option: --volumes"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_connected(command: tuple[str, ...], said: str) -> None:
    result = testing.CliRunner().invoke(app.app, command, env=NOWHERE)
    assert (result.exit_code, said in " ".join(result.stderr.replace("│", " ").split())) == (2, True), result.stderr


def test_a_variable_that_is_no_setting_is_told() -> None:
    misspelled = {"ALLOCATION_KAFKA_BOOTSTRAP_SERVER": "kafka:9092", "ALLOCATION_KILL_POINT": "nowhere"}
    with structlog.testing.capture_logs() as lines:
        testing.CliRunner().invoke(app.app, ["asyncapi"], env=NOWHERE | misspelled)
    assert [line["variable"] for line in lines] == ["ALLOCATION_KAFKA_BOOTSTRAP_SERVER"]
