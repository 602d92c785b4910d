"""`allocation produce` and `allocation tail` on a real broker and registry."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from allocation import bootstrap
from allocation.service_layer.operations import producing
from tests import kafka_logs
from tests.integration import command_line

if TYPE_CHECKING:
    from pathlib import Path

    from allocation import config, devstack

ALLOCATE = {"type": "Allocate", "orderid": "o1", "sku": "LAMP", "qty": 3}
READING = "reading "
AT_ONCE_S = 8.0  # less than it would wait for the transaction


@pytest.fixture
def cli(initialised: config.Settings) -> command_line.CommandLine:
    return command_line.CommandLine(initialised)


def produce(settings: config.Settings, orderid: str) -> None:
    with bootstrap.command_sender(settings) as sender:
        sender.send(producing.GivenCommand("Allocate", {"orderid": orderid, "sku": "LAMP", "qty": 1}))


def test_a_single_command_is_sent_and_its_place_told(
    cli: command_line.CommandLine, initialised: config.Settings
) -> None:
    sent = cli.run("produce", "allocate", "--orderid", "o1", "--sku", "LAMP", "--qty", "-3", "--id", "mine")
    assert (sent.returncode, sent.stderr) == (0, "")
    topic = f"{initialised.topic_prefix}allocate"
    (line,) = cli.lines("tail", "allocate", "--from-beginning", "--max", "1", "--timeout", "30")
    assert sent.stdout == f"sent Allocate mine to {topic}, partition {line['partition']}, offset {line['offset']}\n"
    assert line["topic"] == topic
    assert (line["key"], line["id"], line["source"]) == ("LAMP", "mine", "allocation/cli")
    assert line["value"] == {"orderid": "o1", "sku": "LAMP", "qty": -3}


def test_what_cannot_be_sent_is_wrong_usage(cli: command_line.CommandLine) -> None:
    refused = cli.run("produce", "create-batch", "--ref", "b1", "--sku", "LAMP", "--qty", "1", "--eta", "soon")
    assert refused.returncode == 2
    assert "eta is 'soon'; it must be a day" in refused.stderr


def test_a_file_is_sent_up_to_a_bad_line_which_is_named(cli: command_line.CommandLine, tmp_path: Path) -> None:
    lines = [ALLOCATE, ALLOCATE | {"orderid": "o2"}, ALLOCATE | {"qty": "many"}, ALLOCATE | {"orderid": "o4"}]
    file = tmp_path / "commands.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))

    stopped = cli.run("produce", "--file", str(file))
    assert stopped.returncode == 1
    assert stopped.stdout.startswith("2 commands sent in ")
    assert stopped.stderr == (
        f"allocation: {file}, line 3: qty is 'many'; it must be a whole number from -2147483648 to 2147483647; "
        "nothing behind it was sent\n"
    )
    sent = cli.lines("tail", "allocate", "--from-beginning", "--no-follow")
    assert [line["value"]["orderid"] for line in sent] == ["o1", "o2"]


def test_standard_input_is_sent_past_bad_lines_on_request(cli: command_line.CommandLine) -> None:
    stdin = "\n".join([json.dumps(ALLOCATE), "nonsense", json.dumps(ALLOCATE | {"orderid": "o2"})])
    sent = cli.run("produce", "--file", "-", "--skip-invalid", stdin=stdin)
    assert sent.returncode == 0
    assert sent.stdout.startswith("2 commands sent in ")
    assert sent.stdout.endswith("; 1 lines skipped\n")
    assert sent.stderr.startswith("skipped line 2: it is no JSON")


def test_tail_shows_what_comes_from_now_on_and_ends_with_the_last_one_asked_for(
    cli: command_line.CommandLine, initialised: config.Settings
) -> None:
    produce(initialised, "before")
    with cli.started("tail", "allocate", "--max", "2") as tail:
        command_line.wait_for(tail, READING)
        assert tail.stdout is not None
        produce(initialised, "first")
        assert json.loads(tail.stdout.readline())["value"]["orderid"] == "first"
        produce(initialised, "second")
        assert json.loads(tail.stdout.readline())["value"]["orderid"] == "second"
        assert tail.wait(command_line.DEADLINE_S) == 0


def test_tail_fails_when_there_are_fewer_than_asked_for(
    cli: command_line.CommandLine, initialised: config.Settings
) -> None:
    produce(initialised, "only")
    ended = cli.run("tail", "allocate", "--from-beginning", "--max", "2", "--timeout", "15")
    assert ended.returncode == 1
    assert len(ended.stdout.splitlines()) == 1
    assert ended.stderr.endswith("allocation: only 1 of 2 messages were there\n")


def test_tail_ends_when_nobody_reads_it_any_more(cli: command_line.CommandLine) -> None:
    with cli.started("tail") as tail:
        command_line.wait_for(tail, READING)
        assert tail.stdout is not None
        tail.stdout.close()
        assert tail.wait(command_line.DEADLINE_S) == 0
        assert tail.stderr is not None
        assert tail.stderr.read() == ""


def test_tail_ends_at_ctrl_c_without_a_word(cli: command_line.CommandLine) -> None:
    with cli.started("tail") as tail:
        command_line.wait_for(tail, READING)
        os.kill(tail.pid, signal.SIGINT)
        assert tail.wait(command_line.DEADLINE_S) == 130
        assert tail.stderr is not None
        assert tail.stderr.read() == ""


def test_tail_ends_at_ctrl_c_while_it_waits_for_what_was_written_to_be_committed(
    cli: command_line.CommandLine, initialised: config.Settings, endpoints: devstack.Endpoints
) -> None:
    with kafka_logs.a_transactional_producer(endpoints) as relay:
        kafka_logs.write_transaction(relay, bootstrap.topic_names(initialised).journal, b"a row", commit=None)
        with cli.on_a_terminal("tail", "journal", "--from-beginning", "--no-follow") as (tail, terminal):
            command_line.wait_for_progress(terminal, "looking where the topics end", times=20)  # some two seconds
            os.kill(tail.pid, signal.SIGINT)
            assert tail.wait(AT_ONCE_S) == 130


def test_a_topic_that_is_none_of_ours_is_wrong_usage(cli: command_line.CommandLine) -> None:
    refused = cli.run("tail", "nonsense")
    assert refused.returncode == 2
    assert "nonsense: no such topic; there are " in refused.stderr
