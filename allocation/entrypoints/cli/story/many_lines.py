"""Ten thousand real order lines, as they are: what becomes of each, and how long it takes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich import box, table

from allocation import bootstrap
from allocation.entrypoints.cli.story import flow, order_lines, tally, telling

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from allocation import config
    from allocation.entrypoints.cli.story import system as systems

_HOW_IT_SHOWS = {
    tally.ALLOCATED: "an event on line_allocated names its command",
    tally.OUT_OF_STOCK: "an event on out_of_stock names its command",
    tally.REFUSED: "its command is a dead letter",
    tally.KNOWN: "nothing new is announced; GET /commands/ID tells the batch that the line has",
}


def tell_it(tell: telling.Teller, system: systems.System, *, limit: int | None) -> None:
    """Tell it; raises `StoryFailed` when the numbers do not add up."""
    lines = order_lines.read(limit)
    stock = order_lines.stock_for(lines, today=datetime.now(UTC).date())
    tell.chapter(f"{len(lines):,} real order lines, as commands on Kafka")
    _introduce(tell, lines, stock)
    tell.say("Stock first, as CreateBatch commands:")
    flow.send(tell, system.settings, [batch.command() for batch in stock.batches])
    tell.say("Then the order lines, in the order of the file, as they are:")
    took_s = flow.send(tell, system.settings, [line.command() for line in lines])
    counted = tally.count(
        lines,
        short=stock.short,
        records=_records(system.settings),
        ask=lambda command_id: _asked(system, command_id),
    )
    tell.console.print(_table(counted, len(lines)))
    tell.say(
        f"{len(lines):,} lines in {took_s:.1f} s: {len(lines) / took_s:,.0f} lines/s, from the first one sent until "
        "the last event was on its topic."
    )
    if counted.problems:
        raise telling.StoryFailed("The numbers do not add up:\n" + "\n".join(tally.shown(counted.problems)))


def _introduce(tell: telling.Teller, lines: Sequence[order_lines.OrderLine], stock: order_lines.Stock) -> None:
    skus = len({batch.sku for batch in stock.batches})
    negative = sum(line.qty <= 0 for line in lines)
    repeated = len(lines) - len({line.content for line in lines})
    tell.say(
        'The first lines of "Online Retail" (Daqing Chen, UCI, 2015, CC BY 4.0): a UK gift retailer, December 2010.'
    )
    tell.say(
        f"{negative:,} have a negative quantity (cancellations, write-offs); {repeated:,} repeat another one exactly."
    )
    tell.say(
        f"Of each of {skus:,} SKUs, as much is bought as is ordered: half of it is in the warehouse, the rest (and one "
        f"piece less than the largest line, since a line is never split) arrives in {order_lines.ETA_DAYS} days."
    )
    tell.say(
        f"Every {order_lines.SHORT_EVERY}th SKU is short on purpose ({len(stock.short):,} of them): only "
        f"{order_lines.SHORT_PERCENT} % of what is ordered is bought (one piece at least)."
    )


def _records(settings: config.Settings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Read the three topics to their ends, with the outcome that each of them stands for."""
    names = bootstrap.topic_names(settings)
    outcomes = {
        names.line_allocated: tally.ALLOCATED,
        names.out_of_stock: tally.OUT_OF_STOCK,
        names.dead_letter: tally.REFUSED,
    }
    for record in bootstrap.tail(settings, [*outcomes], from_beginning=True, follow=False, stop=lambda: False):
        yield outcomes[record["topic"]], record


def _asked(system: systems.System, command_id: str) -> Mapping[str, Any]:
    body = system.api.get(f"/commands/{command_id}").body
    return body if isinstance(body, dict) else {"answer": body}


def _table(counted: tally.Tally, total: int) -> table.Table:
    rows = table.Table("outcome", "lines", "seen from outside by", box=box.SIMPLE_HEAD)
    rows.columns[1].justify = "right"
    for outcome, how in _HOW_IT_SHOWS.items():
        rows.add_row(outcome, f"{counted.counts[outcome]:,}", how)
    rows.add_section()
    rows.add_row("all", f"{counted.counts.total():,}", f"of {total:,} lines in the file")
    return rows
