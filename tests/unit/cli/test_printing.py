"""What people see while they wait: on a terminal alone, and never among the results."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

PROGRAM = """
from allocation.entrypoints.cli import printing
with printing.progress_bar("pages of {task.description}") as on_progress:
    on_progress("inbox", 3, 12)
print("done")
"""
UNCOUNTED = """
from allocation.entrypoints.cli import printing
with printing.working("looking at the topics"):
    pass
print("done")
"""
# A terminal of its own kind is assumed, whatever runs the tests.
ENVIRONMENT = {"TERM": "xterm", "COLUMNS": "100", "PATH": os.defpath}
_CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def test_on_a_terminal_progress_tells_what_is_done_and_how_much_of_it() -> None:
    terminal, its_end = pty.openpty()
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=ENVIRONMENT, stdout=-1, stderr=its_end, check=True)
    os.close(its_end)
    shown = _CONTROL.sub(b"", _read(terminal)).decode()
    assert done.stdout == b"done\n"
    assert re.search(r"pages of inbox .* 3/12", shown), shown


def test_on_a_terminal_what_nobody_can_count_is_named_while_it_goes_on() -> None:
    terminal, its_end = pty.openpty()
    done = subprocess.run([sys.executable, "-c", UNCOUNTED], env=ENVIRONMENT, stdout=-1, stderr=its_end, check=True)
    os.close(its_end)
    assert done.stdout == b"done\n"
    assert "looking at the topics" in _CONTROL.sub(b"", _read(terminal)).decode()


@pytest.mark.parametrize("program", [PROGRAM, UNCOUNTED])
def test_where_there_is_no_terminal_nothing_is_said_of_progress(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"done\n", b"")


def _read(terminal: int) -> bytes:
    """Read to the end, which on a terminal is an error."""
    shown = b""
    try:
        while part := os.read(terminal, 65_536):
            shown += part
    except OSError:
        pass
    finally:
        os.close(terminal)
    return shown
