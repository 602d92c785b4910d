"""Send a file of JSON lines as it is read: with a progress bar on a terminal, and a summary whatever happens."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import typer

from allocation.entrypoints.cli import failures, starting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from allocation.service_layer import ports
    from allocation.service_layer.operations import producing

_REDRAW_S = 0.1
# So many bad lines are shown, the rest is counted: a file of another kind is known by its first lines.
_MAX_SHOWN = 10


def send_file(path: Path, *, skip_invalid: bool) -> None:
    """Send the lines, `-` for those of standard input; exits with 1 at a line that no message can be made of."""
    from allocation import bootstrap  # noqa: PLC0415 - takes longer to load than `--help` should

    settings = starting.settings()
    tally = _Tally(skip_invalid)
    with (
        _opened(path) as file,
        _summary(tally),
        bootstrap.command_sender(settings) as sender,
        _progress_bar(file, tally) as lines,
    ):
        tally.begin()
        sender.send_lines(lines, on_unsendable=tally.note, on_delivery=tally.count)
    if tally.bad_line:
        failures.give_up(f"{path}, {tally.bad_line}; nothing behind it was sent")


@dataclass(slots=True)
class _Tally:
    """What has become of the lines so far; `sent` is counted by the producer's thread."""

    skip_invalid: bool
    began_at: float | None = None
    sent: int = 0
    skipped: int = 0
    bad_line: str = ""

    def begin(self) -> None:
        self.began_at = time.monotonic()

    def count(self, _at: ports.Coordinates) -> None:
        self.sent += 1

    def note(self, number: int, error: producing.Unsendable) -> bool:
        """Take down a bad line; say whether to go on behind it."""
        fact = f"line {number}: {error}"
        if not self.skip_invalid:
            self.bad_line = fact
            return False
        self.skipped += 1
        if self.skipped <= _MAX_SHOWN:
            typer.echo(f"skipped {fact}", err=True)
        return True

    def __str__(self) -> str:
        seconds = time.monotonic() - (self.began_at or 0)
        skipped = f"; {self.skipped:,} lines skipped" if self.skipped else ""
        return f"{self.sent:,} commands sent in {seconds:.1f} s, {self.sent / max(seconds, 1e-3):,.0f}/s{skipped}"


@contextlib.contextmanager
def _summary(tally: _Tally) -> Iterator[None]:
    """Say at the end, and after an error or Ctrl-C as well, what Kafka has acknowledged."""
    try:
        yield
    finally:
        if tally.began_at is not None:
            typer.echo(tally)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if str(path) == "-":
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise typer.BadParameter(msg, param_hint="--file") from error
    with file:
        yield file


@contextlib.contextmanager
def _progress_bar(file: IO[bytes], tally: _Tally) -> Iterator[Iterable[bytes]]:
    """Yield the file's lines; on a terminal, how far they are taken is drawn."""
    if not sys.stderr.isatty():
        yield file
        return
    from rich import console, progress  # noqa: PLC0415 - for terminals only

    columns = (
        progress.TextColumn("sending"),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[tally]}"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console.Console(stderr=True), transient=True) as bar:
        task = bar.add_task("sending", total=_size(file), tally="")

        def draw(position: int) -> None:
            bar.update(task, completed=position, tally=str(tally))

        yield _watched(file, draw)


def _watched(lines: Iterable[bytes], draw: Callable[[int], None]) -> Iterator[bytes]:
    """Yield the lines and draw where they stand, ten times a second at most."""
    position, redraw_at = 0, 0.0
    for line in lines:
        position += len(line)
        if time.monotonic() >= redraw_at:
            draw(position)
            redraw_at = time.monotonic() + _REDRAW_S
        yield line


def _size(file: IO[bytes]) -> int | None:
    """Return the bytes of a regular file; a pipe has no size."""
    with contextlib.suppress(OSError):
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            return status.st_size
    return None
