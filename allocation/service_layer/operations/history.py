"""What happened to order lines and batches, step by step, and why: each step names the command that caused it.

Made from what lies on the topics alone: commands, the journal (what became of each, when, in which order),
events and dead letters. So it can be told for as long as the topics are kept, also without the database.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date, datetime

    from allocation.service_layer.operations.verify import snapshot

Key = TypeVar("Key")
Value = TypeVar("Value")


class Cause(NamedTuple):
    """A command as it was sent; where it could not be found, only its id is known."""

    id: str
    source: str = ""
    text: str = ""
    topic: str = ""
    partition: int = -1
    offset: int = -1
    sent_at: datetime | None = None

    @property
    def place(self) -> str:
        """Where it lies, empty when that is not known."""
        return f"{self.topic}/{self.partition}/{self.offset}" if self.topic else ""


class Order(NamedTuple):
    """Sorts steps: the time, the row and entry of the journal, the offset, and the number among the sku's events."""

    time: datetime
    number: int
    entry: int
    offset: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened.

    `what`: created, changed (a batch's quantity), allocated, deallocated, out of stock; or what became of a
    command otherwise: waited, queued, failed, refused, duplicate, no change, pending (not handled yet).
    `place` is that of the event, or of the dead letter; `detail` says why.
    """

    order: Order
    what: str
    cause: Cause
    sku: str
    line: snapshot.Line | None = None
    batchref: str | None = None
    qty: int | None = None
    eta: date | None = None
    place: str = ""
    detail: str = ""

    @property
    def at(self) -> datetime:
        """When it happened, by the database's clock; of what is pending, when it was sent."""
        return self.order.time


@dataclass(slots=True)
class Stock:
    """A batch at one moment."""

    reference: str
    sku: str
    eta: date | None
    purchased: int
    allocated: int = 0


@dataclass(slots=True)
class State:
    """How things stand at one moment; a line's fate is a batch reference in `placed`, else a word in `unplaced`."""

    batches: dict[str, Stock] = field(default_factory=dict)
    placed: dict[snapshot.Line, str] = field(default_factory=dict)
    unplaced: dict[snapshot.Line, str] = field(default_factory=dict)

    def copy(self) -> State:
        """Return a state that later steps do not change."""
        batches = {ref: replace(stock) for ref, stock in self.batches.items()}
        return State(batches, dict(self.placed), dict(self.unplaced))

    def apply(self, step: Step) -> None:
        """Go on by one step."""
        if step.what == "created" and step.batchref is not None:
            self.batches.setdefault(step.batchref, Stock(step.batchref, step.sku, step.eta, step.qty or 0))
        elif step.what == "changed" and step.batchref in self.batches:
            self.batches[step.batchref].purchased = step.qty or 0
        elif step.line is not None:
            self._apply_to_line(step, step.line)

    def _apply_to_line(self, step: Step, line: snapshot.Line) -> None:
        if step.what == "allocated" and step.batchref is not None:
            self.placed[line] = step.batchref
            self.unplaced.pop(line, None)
            if step.batchref in self.batches:
                self.batches[step.batchref].allocated += line.qty
        elif step.what == "deallocated":
            self.placed.pop(line, None)
            self.unplaced[line] = step.what
            if step.batchref in self.batches:
                self.batches[step.batchref].allocated -= line.qty
        elif step.what not in _ABOUT_COMMANDS and line not in self.placed:
            self.unplaced[line] = step.what


_ABOUT_COMMANDS = frozenset({"duplicate", "no change"})  # the line stays as it is


class Subject(NamedTuple):
    """What is asked for: `kind` is order, sku or batch; of an order perhaps only the lines of one `sku`."""

    kind: str
    id: str
    sku: str | None = None

    def concerns(self, step: Step) -> bool:
        """Tell whether a step belongs to its history."""
        if self.kind == "order":
            return step.line is not None and step.line.orderid == self.id and self.sku in {None, step.sku}
        if self.kind == "batch":
            return step.batchref == self.id
        return step.sku == self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that happened to the skus that a subject has to do with; `notes` say what could not be told."""

    subject: Subject
    everything: Sequence[Step]
    notes: Sequence[str] = ()

    def steps(self, *, until: datetime | None = None) -> list[Step]:
        """Return what happened to the subject, in order, up to a time."""
        return [step for step in self._until(until) if self.subject.concerns(step)]

    def state(self, *, until: datetime | None = None) -> State:
        """Return how things stood then: of an order its lines, of a batch itself, of a sku all."""
        state = State()
        for step in self._until(until):
            state.apply(step)
        return self._narrowed(state)

    def states(self, times: Sequence[datetime]) -> Iterator[State]:
        """Yield how things stood at each of these times, the earliest first."""
        state, index = State(), 0
        for time in times:
            while index < len(self.everything) and self.everything[index].at <= time:
                state.apply(self.everything[index])
                index += 1
            yield self._narrowed(state).copy()

    def _until(self, until: datetime | None) -> Iterable[Step]:
        return (step for step in self.everything if until is None or step.at <= until)

    def _narrowed(self, state: State) -> State:
        kind, wanted, sku = self.subject
        if kind == "order":
            lines = (*state.placed, *state.unplaced)
            own = [line for line in lines if line.orderid == wanted and sku in {None, line.sku}]
            serving = {state.placed[line] for line in own if line in state.placed}
            return State(
                batches=_only(state.batches, serving),
                placed=_only(state.placed, own),
                unplaced=_only(state.unplaced, own),
            )
        if kind == "batch":
            placed = {line: ref for line, ref in state.placed.items() if ref == wanted}
            return State(batches=_only(state.batches, {wanted}), placed=placed)
        return state


def _only(of: Mapping[Key, Value], keys: Iterable[Key]) -> dict[Key, Value]:
    return {key: of[key] for key in keys if key in of}
