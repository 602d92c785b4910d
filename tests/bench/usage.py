"""What processes have used, as the kernel counts it.

Source: proc_pid_stat(5), proc_pid_status(5), proc_stat(5).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat behind the name: state, ppid, …
_PARENT = 1
_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = 11, 12, 13, 14
# Of the first line of /proc/stat: idle and waiting for a disk.
_IDLE, _WAITING = 3, 4
_COUNTED = 8  # guests are counted as users already


_WITH_CHILDREN = "postgres"  # a process for each connection


def cpu_s(pid: int) -> float:
    """Return the processor seconds of a process."""
    mine = _stat(pid)
    return sum(int(mine[field]) for field in (_USER, _SYSTEM)) / _TICKS_PER_S if mine else 0.0


def family_cpu_s(pid: int) -> float:
    """Return the processor seconds of a process, of its children, and of those that it has waited for."""
    mine = _stat(pid)
    if mine is None:
        return 0.0
    ticks = sum(int(mine[field]) for field in (_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM))
    for child in _children(pid):
        stat = _stat(child)
        ticks += sum(int(stat[field]) for field in (_USER, _SYSTEM)) if stat else 0
    return ticks / _TICKS_PER_S


def peak_rss_mb(pid: int) -> float:
    """Return the most memory that a process has had resident, in MB of a million bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def machine_cpu_s() -> float:
    """Return the processor seconds that the whole machine has been busy."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return (sum(ticks[:_COUNTED]) - ticks[_IDLE] - ticks[_WAITING]) / _TICKS_PER_S


class Meter:
    """Counts from its creation; `pids` are the processes by name, several with one name are added up."""

    def __init__(self, pids: Mapping[str, tuple[int, ...]]) -> None:
        self._pids = {**pids, "bench": (os.getpid(),)}
        self._begun_at = time.monotonic()
        self._machine = machine_cpu_s()
        self._begun = self._now()

    def figures(self) -> dict[str, float]:
        """Return the seconds since then by process; `others` are those that no one here has used.

        `others_share` is their part of what the machine has, from 0 to 1: how far it was from being quiet.
        """
        elapsed_s = time.monotonic() - self._begun_at
        machine = machine_cpu_s() - self._machine
        used = {name: seconds - self._begun[name] for name, seconds in self._now().items()}
        others = max(0.0, machine - sum(used.values()))
        share = others / (elapsed_s * (os.cpu_count() or 1))
        return {
            **{f"cpu_s.{name}": value for name, value in used.items()},
            "cpu_s.others": others,
            "others_share": share,
        }

    def _now(self) -> dict[str, float]:
        return {
            name: sum(map(family_cpu_s if name == _WITH_CHILDREN else cpu_s, pids)) for name, pids in self._pids.items()
        }


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _children(pid: int) -> list[int]:
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
