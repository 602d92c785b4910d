from __future__ import annotations

import re
from pathlib import Path

import pytest

from allocation import config

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("file", ["docker-compose.kafka.yml", "Dockerfile"])
def test_a_container_is_given_only_settings_that_exist(file: str) -> None:
    given = set(re.findall(r"ALLOCATION_[A-Z_]+", (PROJECT / file).read_text()))
    assert given
    assert given <= {f"ALLOCATION_{name.upper()}" for name in config.Settings.model_fields}
