"""The recipes as they stand in docs/operations.md: what is tested is what is read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
_RECIPE = re.compile(r"<!-- recipe: (?P<name>[^>]+) -->\n```sh\n(?P<lines>.*?)```", re.DOTALL)


def read() -> dict[str, list[str]]:
    """Return the lines of each recipe by its name, in the order of the document."""
    text = DOCUMENT.read_text()
    return {found["name"]: found["lines"].splitlines() for found in _RECIPE.finditer(text)}


def commands() -> set[str]:
    """Return every command of ours that the document names, in code of either kind."""
    text = DOCUMENT.read_text()
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [*spans, *(line for block in blocks for line in block.splitlines())]
    return {line.split("  #")[0].strip() for line in lines if line.startswith("allocation ")}


class Alert(NamedTuple):
    """What the document has of an alert: which rule leads there, groups of our commands, who is said to run them."""

    rule: str
    groups: set[str]
    tests: list[str]


def alerts() -> dict[str, Alert]:
    """Return the alerts by their headings."""
    found = {}
    for heading, section in _sections().items():
        (rule,) = re.findall(r"^`(Allocation\w+)`", section, re.MULTILINE)
        groups = set(re.findall(r"`allocation (dlq|parked|outbox|position) ", section))
        found[heading] = Alert(rule, groups, re.findall(r"<!-- run by: (\S+) -->", section))
    return found


def queries(alert: str) -> list[str]:
    """Return what the text of an alert asks the database."""
    return [" ".join(query.split()) for query in re.findall(r"`(SELECT [^`]+)`", _sections()[alert])]


def _sections() -> dict[str, str]:
    """Return the text of each alert."""
    text = DOCUMENT.read_text().split("\n## Alerts\n")[1].split("\n## ")[0]
    return {section.splitlines()[0]: section for section in text.split("\n### ")[1:]}
