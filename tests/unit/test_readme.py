"""What the documents tell of settings and topics is what the code has."""

from pathlib import Path

import pytest

from allocation import config
from allocation.service_layer import topics
from allocation.service_layer.operations import dead_letters

ROOT = Path(__file__).parents[2]
SETTINGS = (ROOT / "docs/settings.md").read_text()
CONTRACT = (ROOT / "schemas/README.md").read_text()


@pytest.mark.parametrize("name", config.Settings.model_fields)
def test_the_document_tells_what_a_setting_means_and_what_it_is_otherwise(name: str) -> None:
    field = config.Settings.model_fields[name]
    default = field.get_default(call_default_factory=True)
    shown = "" if default in (None, "", {}) else f"`{default}` "
    assert f"| `ALLOCATION_{name.upper()}` | {field.description} | {shown}|\n" in SETTINGS


def test_the_document_tells_of_no_setting_that_there_is_not() -> None:
    assert SETTINGS.count("| `ALLOCATION_") == len(config.Settings.model_fields)


def test_the_contract_names_every_topic() -> None:
    names = topics.TopicNames()
    for topic in (*names.commands.values(), *names.events.values(), names.dead_letter, names.journal):
        assert f"| `{topic}` |" in CONTRACT


def test_the_contract_names_every_reason() -> None:
    assert [reason for reason in dead_letters.REASONS if f"`{reason}`" not in CONTRACT] == []


def test_every_setting_is_described() -> None:
    assert all(field.description for field in config.Settings.model_fields.values())
