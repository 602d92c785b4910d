"""The figures as a table for people, and as JSON for programs."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import results

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.bench import options

# What is looked at first; each case has some of them.
_MAIN = ("rate", "seconds", "p50_ms", "p99_ms", "p999_ms", "max_ms", "rss_mb.worker", "rss_mb.relay")
_PROCESSES = ("worker", "relay", "postgres", "kafka", "bench", "others")
_LIBRARIES = ("confluent-kafka", "fastavro", "psycopg2-binary", "sqlalchemy")
_LARGE, _SMALL = 100, 1
_US = 1e6
# What a system does by itself, the kernel's threads and the like.
_NOISE = 0.05
_QUIET = "The machine was quiet."
_WARNING = "THE MACHINE WAS NOT QUIET: others used more than 5 % of it. These figures are too low."


def table(found: results.Results) -> str:
    """Return everything as text."""
    summary = results.summary(found)
    main = [
        (case, name, *map(number, figures[name]))
        for case, figures in summary.items()
        for name in _MAIN
        if name in figures
    ]
    goals = [
        (goal.text, *map(number, values), f"{goal.least:g}", f"{goal.aim:g}", goal.verdict(values.median))
        for goal, values in results.reached(found)
    ]
    return "\n\n".join(
        (
            _aligned(("case", "figure", "minimum", "median", "maximum"), main),
            "Processor time in µs for each command (or row, or line), medians:",
            _aligned(("case", *_PROCESSES, "others' share"), list(_cpu(summary))),
            _WARNING if _is_disturbed(summary) else _QUIET,
            "Goals; ratios are of the same round:",
            _aligned(("", "minimum", "median", "maximum", "at least", "aim", "reached"), goals),
        )
    )


def as_json(found: results.Results, sizes: options.Sizes) -> str:
    """Return everything as JSON."""
    content = {
        "machine": machine(),
        "sizes": dataclasses.asdict(sizes),
        "rounds": found,
        "summary": {
            case: {name: values._asdict() for name, values in figures.items()}
            for case, figures in results.summary(found).items()
        },
        "goals": [
            {
                "text": goal.text,
                **values._asdict(),
                "rounds": goal.values(found),
                "least": goal.least,
                "aim": goal.aim,
                "reached": goal.verdict(values.median),
            }
            for goal, values in results.reached(found)
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def machine() -> Mapping[str, object]:
    """Return what the figures depend on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processors": os.cpu_count(),
        "model": models[0].partition(": ")[2] if models else platform.machine(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }


def number(value: float) -> str:
    """Return a figure with as many digits as say something."""
    if value >= _LARGE:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= _SMALL * 10 else f"{value:.2f}"


def _cpu(summary: Mapping[str, Mapping[str, results.Spread]]) -> Iterator[tuple[str, ...]]:
    for case, figures in summary.items():
        if "count" in figures:
            count = figures["count"].median
            used = (figures.get(f"cpu_s.{name}") for name in _PROCESSES)
            share = f"{figures['others_share'].median:.0%}"
            yield (case, *("" if one is None else f"{one.median / count * _US:,.1f}" for one in used), share)


def _is_disturbed(summary: Mapping[str, Mapping[str, results.Spread]]) -> bool:
    return any(figures["others_share"].median > _NOISE for figures in summary.values() if "others_share" in figures)


def _aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    texts = sum(all(not _is_number(line[column]) for line in lines[1:]) for column in range(2))
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit()
