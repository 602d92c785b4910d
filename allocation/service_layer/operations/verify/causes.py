"""Compare commands with events: each event follows from a handled command, and each outcome from an event."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from allocation.domain import commands
from allocation.service_layer.operations.verify import snapshot
from allocation.service_layer.operations.verify.findings import Check, Findings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from allocation.service_layer.operations.verify import accounts, events


class Causes:
    """Looks from events to commands and back; a cause is named by its id alone, which two senders may share."""

    def __init__(
        self,
        handled: Sequence[accounts.HandledCommand],
        by_sku: Mapping[str, Sequence[events.Event]],
        *,
        findings: Findings,
    ) -> None:
        self._handled = handled
        self._findings = findings
        self._commands: dict[str, list[commands.Command]] = defaultdict(list)
        for one in handled:
            self._commands[one.id].append(one.command)
        self._caused: dict[str, list[events.Event]] = defaultdict(list)
        self._ever: set[tuple[snapshot.Line, str]] = set()
        for of_sku in by_sku.values():
            for event in of_sku:
                self._caused[event.cause].append(event)
                if event.name == "LineAllocated" and event.batchref is not None:
                    self._ever.add((event.line, event.batchref))

    def check(self) -> None:
        """Report what does not follow."""
        for cause, caused in self._caused.items():
            self._findings.compared[Check.CAUSES] += len(caused)
            self._check_events(cause, caused)
        for one in self._handled:
            if isinstance(one.command, commands.Allocate) and one.is_result_known:
                self._check_result(one, one.command)

    def _check_events(self, cause: str, caused: Iterable[events.Event]) -> None:
        possible = self._commands.get(cause, [])
        moved: Counter[snapshot.Line] = Counter()
        for event in caused:
            if not any(_may_cause(command, event) for command in possible):
                what = "is no handled command" if not possible else "is another command"
                text = f"event {event.sequence} of {event.line.sku} was caused by {cause}, which {what}"
                self._findings.add(Check.CAUSES, event.place, text)
            elif event.name == "LineDeallocated":
                moved[event.line] += 1
            elif not any(_asks_for(command, event.line) for command in possible):
                moved[event.line] -= 1
        for line, count in moved.items():
            if count:
                text = (
                    f"command {cause} took it off a batch without a word of where to"
                    if count > 0
                    else (f"command {cause} moved it, though it took it off no batch")
                )
                self._findings.add(Check.CAUSES, line, text)

    def _check_result(self, one: accounts.HandledCommand, command: commands.Allocate) -> None:
        line = snapshot.Line(command.orderid, command.sku, command.qty)
        if one.result is None:
            announced = any(event.batchref is None and event.line == line for event in self._caused.get(one.id, ()))
            if not announced:
                text = f"command {one.id} found {line} out of stock by the inbox, and no event says so"
                self._findings.add(Check.CAUSES, one.at, text)
        elif (line, one.result) not in self._ever:
            text = f"command {one.id} got {one.result} for {line} by the inbox, and no event says so"
            self._findings.add(Check.CAUSES, one.at, text)


def _may_cause(command: commands.Command, event: events.Event) -> bool:
    match command:
        case commands.Allocate():
            return event.name != "LineDeallocated" and _asks_for(command, event.line)
        case commands.ChangeBatchQuantity(ref):
            return event.name != "LineDeallocated" or event.batchref == ref
        case _:
            return False


def _asks_for(command: commands.Command, line: snapshot.Line) -> bool:
    return isinstance(command, commands.Allocate) and (command.orderid, command.sku, command.qty) == line
