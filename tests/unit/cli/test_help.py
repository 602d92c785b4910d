from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer import testing

from allocation.entrypoints.cli import app

PARTS = (
    *("up", "down", "env", "init", "status", "run", "worker", "relay", "bridge", "api", "tail"),
    *("dlq", "dlq list", "dlq show", "dlq redrive", "dlq discard", "outbox", "outbox list", "outbox release"),
    *("parked", "parked list", "parked show", "parked release", "parked discard"),
    *("schemas", "schemas check", "schemas register", "schemas diff", "asyncapi", "openapi"),
    *("maintenance", "audit", "show", "show order", "show sku", "show batch"),
    *("replay", "replay plan", "replay rewind", "replay skip", "replay resend"),
    *("replay rebuild", "replay compare", "replay promote", "replay restore", "replay verify", "verify", "move"),
    *("replay rebuild", "replay compare", "replay promote", "replay restore", "verify", "replay verify"),
    *("position", "position list", "position adopt", "position restart"),
    *("produce", "produce create-batch", "produce allocate", "produce change-batch-quantity"),
)
# What takes longer to load than all the rest; none of it is needed to say what there is.
HEAVY = ("alembic", "confluent_kafka", "fastapi", "pydantic", "redis", "sqlalchemy", "structlog")


@pytest.mark.parametrize("part", PARTS)
def test_every_part_says_what_it_does(part: str) -> None:
    result = testing.CliRunner().invoke(app.app, [*part.split(), "--help"])
    assert result.exit_code == 0
    usage, _, description = result.output.strip().partition("\n")
    assert f"{part} [OPTIONS]" in usage
    assert len(description.strip().splitlines()[0]) > len("Do it.")


def test_help_is_quick_since_it_loads_nothing_heavy() -> None:
    program = f"import sys; from allocation.entrypoints.cli import app; print({HEAVY} & sys.modules.keys())"
    program = program.replace(str(HEAVY), f"set({HEAVY})")
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout == "set()\n"


@pytest.mark.parametrize("document", ["asyncapi", "openapi"])
def test_a_document_is_printed_and_nothing_is_started(document: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for service in ("KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_URL"):
        monkeypatch.setenv(f"ALLOCATION_{service}", "http://127.0.0.1:1")
    printed = testing.CliRunner().invoke(app.app, [document])
    assert printed.exit_code == 0
    assert json.loads(printed.output)["info"]["title"] == "Allocation"
