"""Command lines for Java programs, on the runtime that comes as a Python package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.devstack import programs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_FLAGS = (
    # No shared statistics file under /tmp, which nothing here reads.
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
    # Native compression libraries loaded by Kafka are expected, not worth four lines of warning.
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)


def command(*arguments: str, temporary_directory: Path, flags: Iterable[str]) -> tuple[str, ...]:
    """Return the command that runs Java with the flags, then the arguments (class or `-jar`).

    Native libraries are unpacked into the temporary directory, which is made if missing.
    """
    temporary_directory.mkdir(parents=True, exist_ok=True)
    return (
        str(programs.java()),
        *_FLAGS,
        f"-Djava.io.tmpdir={temporary_directory}",
        *flags,
        *arguments,
    )
