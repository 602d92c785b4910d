"""How commands print: JSON for programs, tables and progress for people; results on standard output, all else not."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

LIST_LENGTH = 50  # what fits some screens; --json prints all

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, metavar="N", help="The oldest N only.")]


def print_line(line: Mapping[str, Any]) -> None:
    """Print a JSON object on a line of its own."""
    typer.echo(json.dumps(line, ensure_ascii=False, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for people; no text is cut, whatever the terminal."""
    from rich import box, console, table  # noqa: PLC0415 - takes longer to load than `--help` should

    shown = table.Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        shown.add_column(name, overflow="fold")
    for row in rows:
        shown.add_row(*("-" if value is None else _plain(str(value)) for value in row))
    console.Console(highlight=False).print(shown)


def duration(seconds: float) -> str:
    """Return a time span in its two largest units."""
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    days, h = divmod(hours, 24)
    parts = ((days, "d"), (h, "h"), (m, "min"), (s, "s"))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2])


@contextlib.contextmanager
def progress_bar(text: str = "reading {task.description}") -> Iterator[Callable[[str, int, int], None]]:
    """Lend what shows which part is done how far, on standard error while that is a terminal."""
    from rich import console, progress  # noqa: PLC0415 - see above

    errors = console.Console(stderr=True)
    columns = (progress.TextColumn(text), progress.BarColumn(), progress.MofNCompleteColumn())
    with progress.Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("database")
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something goes on which nobody can count, on standard error while that is a terminal."""
    from rich import console  # noqa: PLC0415 - see above

    errors = console.Console(stderr=True)
    with errors.status(what) if errors.is_terminal else contextlib.nullcontext():
        yield


def _plain(text: str) -> Any:
    from rich import text as rich_text  # noqa: PLC0415 - see above

    return rich_text.Text(text)  # never markup: it comes from outside
