"""A real Chromium without a window, as the system has it; nothing is downloaded."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from playwright import sync_api

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str | None:
    """Return where the system's Chromium is, if it has one."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextlib.contextmanager
def running() -> Iterator[sync_api.Browser]:
    """Lend the browser; without its sandbox, which root and containers may not have: it sees our own pages only."""
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable(), args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()
