from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import confluent_kafka
import pytest

from allocation import config
from allocation.adapters.avro import registry
from allocation.adapters.kafka import clients, errors, topics
from allocation.adapters.postgres import schema
from allocation.entrypoints.cli import failures
from allocation.service_layer import ports

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "error",
    [
        config.SettingsError("told"),
        clients.BadSetting("told"),
        registry.BadSetting("told"),
        schema.NotInitialised("told"),
    ],
)
def test_what_the_user_got_wrong_is_told_with_exit_code_2(error: Exception) -> None:
    assert failures.explain(error) == ("told", 2)


@pytest.mark.parametrize(
    "error",
    [
        ports.Retryable("told"),
        ports.DependencyDown("told"),
        ports.MembershipLost("told"),
        errors.KafkaRefused("told"),
        topics.TopicMismatch("told"),
        registry.SchemaRejected("told"),
        registry.SchemaNotRegistered("told"),
    ],
)
def test_what_fails_otherwise_is_told_with_exit_code_1(error: Exception) -> None:
    assert failures.explain(error) == ("told", 1)


def test_what_a_driver_says_in_several_lines_is_told_in_one() -> None:
    told = failures.explain(ports.DependencyDown("connection failed\n\tIs the server running?"))
    assert told is not None
    assert told.sentence == "connection failed Is the server running?"


def test_settings_that_the_kafka_client_does_not_take_are_the_users() -> None:
    with pytest.raises(confluent_kafka.KafkaException) as refused:
        confluent_kafka.Producer({"no.such.setting": 1})
    told = failures.explain(refused.value)
    assert told is not None
    assert told.status == 2
    assert "no.such.setting" in told.sentence
    assert "ALLOCATION_KAFKA_CONFIG" in told.sentence


@pytest.mark.parametrize("error", [ValueError("a bug"), confluent_kafka.KafkaException(confluent_kafka.KafkaError(1))])
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    assert failures.explain(error) is None


def test_a_wrong_setting_is_named_on_standard_error_with_its_value_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("ALLOCATION_HTTP_PORT=nonsense\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ALLOCATION_")}
    result = subprocess.run(
        [sys.executable, "-m", "allocation", "worker"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("allocation: ALLOCATION_HTTP_PORT='nonsense': ")
    assert len(result.stderr.splitlines()) == 1
