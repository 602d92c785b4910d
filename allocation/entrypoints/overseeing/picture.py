"""An overview as a picture in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box, columns, console, panel, table, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from allocation.service_layer.operations import status
    from allocation.service_layer.operations.overview import flow

_LEVELS = "▁▂▃▄▅▆▇█"
_CHART_WIDTH = 40
_SHORTEST_CHART = 8
_BESIDE_CHART = 60  # columns of all else in the table
_MAX_LAGS = 8
_MAX_PAST = 3

# From the topics to the events: what each stage does, its rate, and what waits before the next one.
_STAGES = (
    ("commands", "arrived", "lag", "wait for a worker"),
    ("worker", "handled", "parked", "parked"),
    ("outbox", "written", "outbox", "rows wait for the relay"),
    ("relay", "sent", None, ""),
    ("events", "announced", None, ""),
)


def draw(overview: flow.Overview, *, width: int) -> console.Group:
    """Return the picture for a terminal of so many columns."""
    return console.Group(
        _heading(overview),
        _flow(overview, chart_width=max(_SHORTEST_CHART, min(_CHART_WIDTH, width - _BESIDE_CHART))),
        _named(_who(overview.status)),
        _named(_in_all(overview)),
        _behind(overview.status),
        *_alarms(overview),
        *_lately(overview),
    )


def spark(values: Sequence[float | None], *, width: int = _CHART_WIDTH) -> str:
    """Return a line of bars, the newest right; a gap where nothing is known."""
    shown = values[-width:]
    highest = max((value for value in shown if value is not None), default=0.0)
    bars = "".join(_bar(value, highest) for value in shown)
    return bars.rjust(width)


def number(value: float | None) -> str:
    """Return a number for people; a dash where it is not known."""
    if value is None:
        return "-"
    return f"{value:,.1f}" if 0 < value < 10 and value % 1 else f"{value:,.0f}"  # noqa: PLR2004 - two digits are enough


def _bar(value: float | None, highest: float) -> str:
    if value is None:
        return " "
    if not value:
        return _LEVELS[0]
    return _LEVELS[min(int(value / highest * len(_LEVELS)), len(_LEVELS) - 1)]


def _heading(overview: flow.Overview) -> text.Text:
    line = text.Text("allocation", style="bold")
    line.append(f"  {overview.seen.time:%Y-%m-%d %H:%M:%S} UTC  ", style="dim")
    if overview.alarms:
        return line.append(f"{len(overview.alarms)} wrong", style="bold red")
    return line.append("all is well", style="green")


def _flow(overview: flow.Overview, *, chart_width: int) -> table.Table:
    shown = table.Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("stage", no_wrap=True)
    shown.add_column("per second", justify="right", no_wrap=True)
    shown.add_column("the last seconds", style="cyan", no_wrap=True)
    shown.add_column("waits", justify="right")
    shown.add_column("")
    for name, rate, level, what in _STAGES:
        waits = None if level is None else overview.levels[level]
        shown.add_row(
            name,
            number(overview.rates[rate]),
            spark(overview.series[rate], width=chart_width),
            "" if level is None else text.Text(number(waits), style="yellow" if waits else ""),
            text.Text(what, style="dim"),
        )
    return shown


def _named(found: Iterable[tuple[str, str]]) -> columns.Columns:
    """Put names with what is to be said of each beside each other, and break no pair."""
    return columns.Columns(
        (text.Text(f"{name} ", style="bold", no_wrap=True).append(said, style="not bold") for name, said in found),
        padding=(0, 3),
    )


def _who(found: status.Status) -> Iterator[tuple[str, str]]:
    for member in found.kafka.members if found.kafka is not None else ():
        yield "worker", f"{member.name}, {member.partitions} partitions"
    if found.database is not None:
        yield from found.database.owners.items()


def _in_all(overview: flow.Overview) -> Iterator[tuple[str, str]]:
    stock, kafka = overview.seen.stock, overview.status.kafka
    if stock is not None:
        yield "lines allocated", f"{stock.lines:,}"
        yield "pieces", f"{stock.allocated:,} of {stock.purchased:,}"
        yield "batches", f"{stock.batches:,}"
        yield "SKUs", f"{stock.skus:,}"
        yield "events", f"{stock.events:,}"
    if kafka is not None:
        letters = kafka.dead_letters
        yield "dead letters", f"{letters.count:,}" if letters.is_exact else f"at most {letters.count:,}"


def _behind(found: status.Status) -> text.Text:
    behind = sorted((one for one in found.lags if one.lag), key=lambda one: -one.lag)
    line = text.Text()
    if behind:
        line.append("behind ", style="bold")
    line.append("   ".join(f"{one.topic}/{one.partition} {one.lag:,}" for one in behind[:_MAX_LAGS]), style="yellow")
    if len(behind) > _MAX_LAGS:
        line.append(f"   and {len(behind) - _MAX_LAGS} more", style="dim")
    return line


def _alarms(overview: flow.Overview) -> list[panel.Panel]:
    if not overview.alarms:
        return []
    lines = text.Text("\n").join(
        text.Text(one.what, style="bold red").append(f"  {' '.join(one.text.split())}", style="not bold default")
        for one in overview.alarms
    )
    return [panel.Panel(lines, title="wrong", border_style="red", title_align="left")]


def _lately(overview: flow.Overview) -> list[text.Text]:
    return [
        text.Text(f"{one.ended:%H:%M:%S} no longer: ", style="dim").append(f"{one.what}  {' '.join(one.text.split())}")
        for one in overview.lately[:_MAX_PAST]
    ]
