"""The recipes as they stand in docs/operations.md: what is tested is what is read."""

from __future__ import annotations

import re
from pathlib import Path

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


def alerts() -> dict[str, tuple[set[str], list[str]]]:
    """Return of each alert which groups of our commands its text has, and the tests that are said to run them."""
    text = DOCUMENT.read_text().split("\n## Alerts\n")[1].split("\n## ")[0]
    found = {}
    for section in text.split("\n### ")[1:]:
        groups = set(re.findall(r"`allocation (dlq|parked|outbox|position) ", section))
        found[section.splitlines()[0]] = (groups, re.findall(r"<!-- run by: (\S+) -->", section))
    return found
