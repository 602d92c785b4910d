"""How every command begins: with its settings, and with log lines on standard error, apart from its output."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from allocation import config


def settings() -> config.Settings:
    """Read the settings and send log lines to standard error; raises `SettingsError`.

    A variable that looks like a setting and is none is told: it may be one that was misspelled.
    """
    from allocation import config  # noqa: PLC0415 - takes longer to load than `--help` should
    from allocation.entrypoints import logs  # noqa: PLC0415 - likewise

    found = config.load()
    logs.configure(found)
    for name in config.unknown_variables():
        logs.warn_of_unknown(name)
    return found
