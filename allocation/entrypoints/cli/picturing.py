"""A history as a small picture in the terminal: how full each batch was, or where each line was, at each step."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from rich import box, console, table, text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from allocation.service_layer.operations import history
    from allocation.service_layer.operations.verify import snapshot

_BAR_WIDTH = 24
_COLUMNS = 48  # moments in a picture; with more steps each stands for several
_MAX_ROWS = 20
_LEVELS = "▁▂▃▄▅▆▇█"
_COLOURS = ("green", "cyan", "magenta", "yellow", "blue", "bright_red")
_SIGNS = {"out of stock": "x", "deallocated": "x", "refused": "!", "failed": "!"}
_STYLES = {"allocated": "green", "deallocated": "yellow", "out of stock": "red", "refused": "red", "failed": "red"}


def draw(found: history.History, *, until: datetime | None, limit: int) -> None:
    """Print how things stand, the picture over time, and the last steps, so many at most."""
    out = console.Console(highlight=False)
    steps = found.steps(until=until)
    kind = found.subject.kind
    heading = text.Text(f"{kind} {found.subject.id}", style="bold")
    out.print(
        heading.append(f"  as of {until.isoformat() if until else 'now'}, {len(steps)} steps", style="not bold dim")
    )
    state = found.state(until=until)
    moments = _moments(found, steps)
    for line in _batches(state, moments) if kind != "order" else _lines(state, moments):
        out.print(line, soft_wrap=True)
    if moments:
        each = "each step" if len({step.at for step in steps}) == len(moments) else "for several steps"
        span = f"from {steps[0].at:%Y-%m-%d %H:%M:%S} to {steps[-1].at:%Y-%m-%d %H:%M:%S} UTC, a column {each}"
        out.print(text.Text(span, style="dim"))
    out.print(_table(steps[-limit:]))
    if len(steps) > limit:
        out.print(f"the last {limit:,} of {len(steps):,} steps; --limit N shows more, --json all", style="dim")


def _moments(found: history.History, steps: Sequence[history.Step]) -> list[history.State]:
    """Return how things stood at the times of the steps, thinned out to what a terminal shows."""
    times = sorted({step.at for step in steps})
    if len(times) > _COLUMNS:
        times = [times[index * (len(times) - 1) // (_COLUMNS - 1)] for index in range(_COLUMNS)]
    return list(found.states(times))


def _batches(state: history.State, moments: Sequence[history.State]) -> list[text.Text]:
    shown = list(state.batches.values())
    width = max((len(batch.reference) for batch in shown), default=0)
    drawn = []
    for batch in shown[:_MAX_ROWS]:
        full = 0 if not batch.purchased else round(_BAR_WIDTH * batch.allocated / batch.purchased)
        line = text.Text(f"  {batch.reference:<{width}}  ")
        line.append("█" * full, style="green").append("░" * (_BAR_WIDTH - full), style="dim")
        line.append(f" {batch.allocated:,} of {batch.purchased:,}, ")
        line.append("in the warehouse" if batch.eta is None else f"ETA {batch.eta}", style="dim")
        line.append("  ").append("".join(_level(one.batches.get(batch.reference)) for one in moments), style="cyan")
        drawn.append(line)
    return drawn + _left_out(len(shown))


def _level(batch: history.Stock | None) -> str:
    if batch is None:
        return " "
    if not batch.purchased or not batch.allocated:
        return "_"
    return _LEVELS[min(len(_LEVELS) * batch.allocated // batch.purchased, len(_LEVELS) - 1)]


def _lines(state: history.State, moments: Sequence[history.State]) -> list[text.Text]:
    """Draw each line with a letter for each batch that it was in."""
    shown = list(dict.fromkeys((*state.placed, *state.unplaced)))
    refs = dict.fromkeys(one.placed[line] for one in moments for line in shown if line in one.placed)
    signs = dict(zip(refs, itertools.cycle("ABCDEFGHIJKLMNOPQRSTUVWXYZ")))
    colours = dict(zip(refs, itertools.cycle(_COLOURS)))
    width = max((len(_short(line)) for line in shown), default=0)
    drawn = []
    for line in shown[:_MAX_ROWS]:
        row = text.Text(f"  {_short(line):<{width}}  ")
        for one in moments:
            ref = one.placed.get(line)
            row.append(signs[ref], style=colours[ref]) if ref else row.append(
                _sign(one.unplaced.get(line)), style="red"
            )
        row.append(f"  {state.placed.get(line) or state.unplaced[line]}")
        drawn.append(row)
    legend = text.Text("  ").join(text.Text(f"{sign} {ref}", style=colours[ref]) for ref, sign in signs.items())
    return [*drawn, *_left_out(len(shown)), text.Text("  ").append_text(legend)]


def _sign(word: str | None) -> str:
    return "·" if word is None else _SIGNS.get(word, "…")


def _short(line: snapshot.Line) -> str:
    return f"{line.qty:,} of {line.sku}"


def _left_out(count: int) -> list[text.Text]:
    return [] if count <= _MAX_ROWS else [text.Text(f"  … and {count - _MAX_ROWS:,} more; --json has all", style="dim")]


def _table(steps: Sequence[history.Step]) -> table.Table:
    shown = table.Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("time (UTC)", "what", "which", "batch", "because of", "at", "sent"):
        shown.add_column(name, overflow="fold")
    for step in steps:
        what = text.Text(step.what, style=_STYLES.get(step.what, ""))
        because = text.Text(f"{step.cause.text.partition('(')[0] or 'command'} {step.cause.id}")
        if step.detail:
            what.append(f" ({step.detail})", style="dim")
        shown.add_row(
            f"{step.at:%Y-%m-%d %H:%M:%S.%f}"[:-3],
            what,
            text.Text(_which(step)),
            text.Text(step.batchref or "-"),
            because,
            text.Text(step.cause.place or "-"),
            "-" if step.cause.sent_at is None else f"{step.cause.sent_at:%H:%M:%S.%f}"[:-3],
        )
    return shown


def _which(step: history.Step) -> str:
    if step.line is not None:
        return f"{step.line.orderid}: {step.line.qty:,} of {step.line.sku}"
    return step.sku if step.qty is None else f"{step.qty:,} of {step.sku}"
