"""Ports for servers that take seconds to bind them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from allocation.devstack import ports

if TYPE_CHECKING:
    import pytest

FEW = range(31_000, 31_060)
IN_ANOTHER_PROCESS = """
import sys
from allocation.devstack import ports
ports._RANGE = range(*map(int, sys.argv[1:]))
ports._ATTEMPTS = len(ports._RANGE)
print(*ports.pick(15))
"""


def pick_in_another_process() -> set[int]:
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(FEW.start), str(FEW.stop)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return set(map(int, printed.split()))


def test_nobody_else_picks_a_port_that_waits_for_its_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_RANGE", FEW)
    monkeypatch.setattr(ports, "_ATTEMPTS", len(FEW))
    first, second = set(ports.pick(15)), set(ports.pick(15))
    assert first <= set(FEW)
    assert not first & second
    assert not (first | second) & pick_in_another_process()


def test_a_port_that_was_picked_is_free_for_its_server() -> None:
    assert all(map(ports.is_free, ports.pick(3)))
