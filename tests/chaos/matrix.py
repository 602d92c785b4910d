"""The kill matrix as people see it: a line for each cell as it ends, and the table of them all.

A cell is worth nothing if its kill point was not reached, so each says what it has really reached.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HEADINGS = ("cell", "workload", "reached", "commands", "kills", "violations", "seconds")
_NUMBERS = 4  # the last columns, set to the right


@dataclasses.dataclass
class Row:
    """One cell; `kills` counts each SIGKILL and SIGSTOP, of parts and of services."""

    cell: str
    workload: str = "-"
    reached: str = "-"
    commands: int = 0
    kills: int = 0
    violations: int | None = None
    is_broken: bool = False
    """The service lacks a remedy here on purpose, and the violations are what is wanted."""
    has_failed: bool = False
    seconds: float = 0.0

    def values(self) -> tuple[str, ...]:
        """Return what stands in the table."""
        violations = "?" if self.violations is None else str(self.violations)
        numbers = (str(self.commands), str(self.kills), violations, f"{self.seconds:.1f}")
        return (self.cell, self.workload, self.reached, *numbers)


class Table(NamedTuple):
    """A part of the matrix."""

    title: str
    rows: Sequence[Row]

    def as_text(self) -> Iterable[str]:
        """Yield lines of equal columns."""
        lines = [HEADINGS, *(row.values() for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            left = (value.ljust(width) for value, width in zip(line[:-_NUMBERS], widths, strict=False))
            right = (value.rjust(width) for value, width in zip(line[-_NUMBERS:], widths[-_NUMBERS:], strict=True))
            yield "  ".join((*left, *right))

    def as_markdown(self) -> str:
        """Return a table for the documentation."""
        rule = ["---"] * (len(HEADINGS) - _NUMBERS) + ["---:"] * _NUMBERS
        lines = [HEADINGS, rule, *(row.values() for row in self.rows)]
        return "\n".join((f"## {self.title}", "", *("| " + " | ".join(line) + " |" for line in lines)))


class Matrix:
    """All cells of one run."""

    def __init__(self, *, seed: int) -> None:
        self.seed = seed
        self.expected = 0
        self.rows: list[Row] = []
        self._began = time.monotonic()

    def add(self, cell: str) -> Row:
        """Begin a cell."""
        self.rows.append(Row(cell))
        return self.rows[-1]

    def progress(self, row: Row) -> str:
        """Say that a cell has ended, which one it was of how many, and how long all of it took until now."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        count = f"[{len(self.rows)}/{self.expected}]"
        state = "FAILED" if row.has_failed else "ok"
        return f"{count:>9} {minutes:3}:{seconds:02}  {state:6} {row.seconds:6.1f} s  {row.cell}: {row.reached}"

    def tables(self) -> Sequence[Table]:
        """Return the cells of the service as it is, and those of its broken variants."""
        whole = [row for row in self.rows if not row.is_broken]
        broken = [row for row in self.rows if row.is_broken]
        tables = (
            Table(f"Kill matrix, seed {self.seed}", whole),
            Table("Variants that lack a remedy: violations are wanted", broken),
        )
        return [table for table in tables if table.rows]

    def summary(self) -> str:
        """Say the whole in a sentence."""
        whole = [row for row in self.rows if not row.is_broken]
        minutes = (time.monotonic() - self._began) / 60
        return (
            f"{len(self.rows)} cells, {sum(row.has_failed for row in self.rows)} failed; "
            f"{sum(row.commands for row in whole)} commands, {sum(row.kills for row in whole)} kills, "
            f"{sum(row.violations or 0 for row in whole)} violations; {minutes:.0f} minutes, seed {self.seed}"
        )

    def as_markdown(self) -> str:
        """Return all tables as a page."""
        return (
            "\n\n".join(("# The kill matrix", self.summary(), *(table.as_markdown() for table in self.tables()))) + "\n"
        )
