"""What a verification has compared, and where the parts disagree: all counted, the first of each kind kept."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field


class Check(enum.Enum):
    """One comparison; the value is what it establishes."""

    POSITIONS = "stored positions lie within their logs"
    JOURNAL = "the journal covers every handled record once, and is on its topic"
    COMMANDS = "every command was handled, refused, parked, or is a duplicate"
    DEAD_LETTERS = "what was refused is a dead letter once, as it came"
    EVENTS = "the events of each sku are complete, unique and in order"
    CAUSES = "events follow from handled commands, and outcomes from events"
    LINES = "the events, replayed, give the order lines"
    BATCHES = "no batch is oversold, and its totals are those of its lines"
    STOCK = "batches and quantities follow from the commands"
    VERSIONS = "version numbers count the changes"

    @property
    def title(self) -> str:
        """The name for people and programs."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement; `subject` names the sku, line, batch or offset."""

    check: Check
    subject: str
    text: str


@dataclass(slots=True)
class Findings:
    """Collects; `keep` findings of each check are kept with their text."""

    keep: int
    counts: Counter[Check] = field(default_factory=Counter)
    compared: Counter[Check] = field(default_factory=Counter)
    first: list[Finding] = field(default_factory=list)

    def add(self, check: Check, subject: object, text: str) -> None:
        """Note a disagreement."""
        self.counts[check] += 1
        if self.counts[check] <= self.keep:
            self.first.append(Finding(check, str(subject), text))
