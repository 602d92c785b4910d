"""Settings that cannot be used are named with their value, and nothing secret is shown."""

from __future__ import annotations

import pytest

from allocation import config


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{bad", "ALLOCATION_KAFKA_CONFIG='{bad': is no JSON"),
        ("[1]", "ALLOCATION_KAFKA_CONFIG='[1]': Input should be a valid dictionary"),
        ('{"sasl.password": "s3cret"', """ALLOCATION_KAFKA_CONFIG='{"sasl.password": "***"': is no JSON"""),
    ],
)
def test_json_that_is_none_is_told_with_its_variable(value: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATION_KAFKA_CONFIG", value)
    with pytest.raises(config.SettingsError) as refused:
        config.load()
    assert said in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_a_password_in_a_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATION_REDIS_URL", "http://joe:s3cret@localhost")
    with pytest.raises(
        config.SettingsError, match=r"ALLOCATION_REDIS_URL='http://joe:\*\*\*@localhost': must be a URL"
    ):
        config.load()


def test_json_is_read_as_it_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATION_KAFKA_CONFIG", '{"client.rack": "a", "socket.timeout.ms": 5000}')
    assert config.load().kafka_config == {"client.rack": "a", "socket.timeout.ms": 5000}


def test_what_is_no_setting_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATION_BATCHSIZE", "5")
    monkeypatch.setenv("ALLOCATION_KILL_POINT", "relay.after_commit")
    monkeypatch.setenv("ALLOCATION_BATCH_SIZE", "5")
    assert config.unknown_variables() == ("ALLOCATION_BATCHSIZE",)
