"""How the story looks: chapters, what was done, and messages as they are; the same without a terminal, but plain."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, Protocol

from rich import console, progress, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_INDENT = "  "
_LABEL_WIDTH = 7  # the longest: "Kafka" and "Redis", and room


class StoryFailed(Exception):
    """Something that the story promises did not happen; says what."""


class Bar(Protocol):
    """Moves a bar to a count."""

    def __call__(self, done: int, /) -> None:
        """Move it."""


class Teller:
    """Tells to one console."""

    def __init__(self, output: console.Console, *, chapters: int) -> None:
        self.console = output
        self._chapters = chapters
        self._chapter = 0
        self._began = time.monotonic()

    def chapter(self, title: str) -> None:
        """Begin the next chapter."""
        self._chapter += 1
        elapsed_s = time.monotonic() - self._began
        heading = text.Text(f"\n[{self._chapter}/{self._chapters}] {title}", style="bold")
        self.console.print(heading.append(f"  ({elapsed_s:.0f} s)", style="dim"), soft_wrap=True)

    def say(self, sentence: str) -> None:
        """Print a line of text."""
        self.console.print(text.Text(_INDENT + sentence), soft_wrap=True)

    def label(self, label: str, content: str, *, style: str = "") -> None:
        """Print what went through one of the doors of the system: HTTP, Kafka, Redis."""
        line = text.Text(_INDENT).append(label.ljust(_LABEL_WIDTH), style="cyan").append(content, style=style)
        self.console.print(line, soft_wrap=True)

    def record(self, record: Mapping[str, Any]) -> None:
        """Print a Kafka record, decoded: where it lies, its value, and the headers that tell most."""
        self.label("Kafka", f"{record['topic']}/{record['partition']}/{record['offset']}  key {record['key']}")
        self.label("", json.dumps(record["value"], ensure_ascii=False), style="green")
        self.label("", f"ce_sequence {record['sequence']}, ce_causationid {record['causationid']}", style="dim")

    @contextlib.contextmanager
    def bars(self, **totals: int) -> Iterator[Mapping[str, Bar]]:
        """Show bars by name; without a terminal, one line at the end."""
        columns = (
            progress.TextColumn(_INDENT + "{task.description:<8}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
        )
        with progress.Progress(*columns, console=self.console, disable=not self.console.is_terminal) as shown:
            tasks = {name: shown.add_task(name, total=total) for name, total in totals.items()}
            yield {name: _bar(shown, task) for name, task in tasks.items()}
            if not self.console.is_terminal:
                self.say(", ".join(f"{task.completed:,.0f} {task.description}" for task in shown.tasks))


def _bar(shown: progress.Progress, task: progress.TaskID) -> Callable[[int], None]:
    return lambda done: shown.update(task, completed=done)
