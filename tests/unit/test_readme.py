from pathlib import Path

import pytest

from allocation import config
from allocation.service_layer import topics

README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize("name", config.Settings.model_fields)
def test_the_readme_tells_what_a_setting_means(name: str) -> None:
    assert f"| `ALLOCATION_{name.upper()}` | {config.Settings.model_fields[name].description}" in README


def test_the_readme_names_every_topic() -> None:
    names = topics.TopicNames()
    for topic in (*names.commands.values(), *names.events.values(), names.dead_letter, names.journal):
        assert f"| `{topic}` |" in README


def test_every_setting_is_described() -> None:
    assert all(field.description for field in config.Settings.model_fields.values())
