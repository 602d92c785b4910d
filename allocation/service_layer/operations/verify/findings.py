"""What a verification has compared, and where the parts disagree: all counted, the first of each kind kept."""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field


class Check(enum.Enum):
    """One comparison; the value is what it establishes."""

    ENDS = "nothing written is hidden from readers"
    POSITIONS = "stored positions lie within their logs"
    JOURNAL = "every handled record is journaled once"
    COMMANDS = "every command has exactly one outcome"
    DEAD_LETTERS = "every refused command, as it came"
    EVENTS = "complete, unique, in order for each sku"
    CAUSES = "events follow from handled commands"
    LINES = "the events, replayed, give these lines"
    BATCHES = "none oversold; totals match its lines"
    STOCK = "batches and quantities follow commands"
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
