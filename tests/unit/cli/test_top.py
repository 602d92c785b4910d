"""`allocation top` at a terminal, where nothing of the installation answers: it shows that, and goes on."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING

from tests import terminals

if TYPE_CHECKING:
    from pathlib import Path

LEFT = "\x1b[?1049l"  # the terminal's other screen, so that what was there before is there again
CURSOR = "\x1b[?25h"


def stamps(shown: str) -> set[str]:
    """Return the seconds of which there is a picture."""
    return set(re.findall(r"\d\d:\d\d:\d\d UTC", shown))


def test_the_picture_is_drawn_anew_until_ctrl_c_which_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    nowhere = {
        "ALLOCATION_DATABASE_URL": f"postgresql+psycopg2://nobody@/nothing?host={tmp_path}",
        "ALLOCATION_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "ALLOCATION_REDIS_URL": "redis://127.0.0.1:1/0",
        "ALLOCATION_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
        "TERM": "xterm",
    }
    with terminals.running("-m", "allocation", "top", environment=os.environ | nowhere) as terminal:
        shown = terminal.read_until(lambda shown: len(stamps(shown)) > 1 and "wrong" in shown)
        assert "wrong" in shown
        assert LEFT not in shown
        terminal.process.send_signal(signal.SIGINT)
        left = terminal.read_all().removeprefix(shown)
        assert terminal.process.wait(10) == 0
    assert LEFT in left
    assert CURSOR in left
    assert "Traceback" not in left
