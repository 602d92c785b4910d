"""Programs at a terminal, as a person has them."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


@dataclass
class Terminal:
    """What a program shows, and the program; it writes standard output and standard error here."""

    process: subprocess.Popen[bytes]
    descriptor: int
    shown: str = ""

    def read_until(self, condition: Callable[[str], bool], *, deadline_s: float = 30.0) -> str:
        """Read until this is true of all that is shown, or the program has ended."""
        ends_at = time.monotonic() + deadline_s
        while not condition(self.shown):
            left_s = max(ends_at - time.monotonic(), 0.0)
            assert select.select([self.descriptor], [], [], left_s)[0], f"not within {deadline_s:g} s: {self.shown!r}"
            if not (piece := self._read()):
                break
            self.shown += piece
        return self.shown

    def read_all(self) -> str:
        """Read until the program has ended."""
        return self.read_until(lambda _shown: False)

    def _read(self) -> str:
        try:
            return os.read(self.descriptor, 65536).decode(errors="replace")
        except OSError:  # Linux says so that nobody has the other side any more
            return ""


@contextlib.contextmanager
def running(*arguments: str, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run Python with these arguments; killed at the end if it is still there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, *arguments], env=environment, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            process.kill()
            os.close(ours)
