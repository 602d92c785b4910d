"""Count what became of each order line, as seen from outside, and hold it against the file.

A line is allocated or out of stock when an event names its command as the cause, and refused when its
command is a dead letter. A command of which no topic says a word must be a line that had its batch
already: then the API tells, for its id, the batch of the line that it repeats.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from allocation.entrypoints.cli.story import order_lines

ALLOCATED, OUT_OF_STOCK, REFUSED, KNOWN = "allocated", "out of stock", "refused", "already known"
_MAX_PROBLEMS = 10


@dataclass(slots=True)
class Tally:
    """Outcomes by command id; `problems` are what does not add up."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def count(
    lines: Sequence[order_lines.OrderLine],
    *,
    short: frozenset[str],
    records: Iterable[tuple[str, Mapping[str, Any]]],
    ask: Callable[[str], Mapping[str, Any]],
) -> Tally:
    """Count the outcomes of all lines.

    `records` are those of the topics with the outcome that each stands for; `ask` returns what the API
    says of a command. `short` are the SKUs of which too little was bought: no others may run out.
    """
    told = _told(records)
    tally = Tally()
    batches: dict[tuple[str, str, int], str] = {}
    for line in lines:
        outcomes = told.get(line.id, [])
        if not outcomes:
            tally.counts[KNOWN] += 1
            tally.problems += _of_silent(line, batches.get(line.content), ask(line.id))
            continue
        outcome, value = outcomes[0]
        tally.counts[outcome] += 1
        tally.problems += [f"{line.id} has {len(outcomes)} outcomes"] if len(outcomes) > 1 else []
        tally.problems += _of_told(line, outcome, is_short=line.sku in short)
        if outcome == ALLOCATED:
            batches[line.content] = value["batchref"]
    return tally


def shown(problems: Sequence[str]) -> Iterator[str]:
    """Return the first problems, and how many more there are."""
    yield from problems[:_MAX_PROBLEMS]
    if len(problems) > _MAX_PROBLEMS:
        yield f"… and {len(problems) - _MAX_PROBLEMS} more"


def _told(records: Iterable[tuple[str, Mapping[str, Any]]]) -> dict[str, list[tuple[str, Mapping[str, Any]]]]:
    """Return what the topics say, by the id of the command."""
    told: dict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for outcome, record in records:
        command_id = record["id"] if outcome == REFUSED else record["causationid"]
        told[command_id].append((outcome, record["value"] or {}))
    return told


def _of_told(line: order_lines.OrderLine, outcome: str, *, is_short: bool) -> list[str]:
    if (outcome == REFUSED) != (line.qty <= 0):
        return [f"{line.id} asks for {line.qty} pieces and is {outcome}"]
    if outcome == OUT_OF_STOCK and not is_short:
        return [f"{line.id} is {outcome}, though enough of {line.sku} was bought"]
    return []


def _of_silent(line: order_lines.OrderLine, batchref: str | None, answer: Mapping[str, Any]) -> list[str]:
    if batchref is None:
        return [f"{line.id} repeats no line that has a batch, and no topic says what became of it"]
    if (answer.get("status"), answer.get("result")) != ("handled", batchref):
        return [f"{line.id} repeats a line in {batchref}; the API says of it: {dict(answer)}"]
    return []
