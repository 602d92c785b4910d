"""A picture of the figures: bars of medians, with a line from minimum to maximum. SVG, written by hand."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, NamedTuple

from tests.bench import report, results

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WIDTH, _LABELS, _NUMBERS, _ROW, _HEAD = 900, 270, 90, 22, 40
_PANELS = (("Commands (rows, lines) a second", "rate"), ("p50, ms", "p50_ms"), ("p99, ms", "p99_ms"))
_BAR, _WHISKER = "#4878a8", "#222222"


class _Bar(NamedTuple):
    label: str
    values: results.Spread


def svg(found: results.Results) -> str:
    """Return the picture."""
    summary = results.summary(found)
    parts: list[str] = []
    top = 0
    for title, name in _PANELS:
        bars = [_Bar(case, figures[name]) for case, figures in summary.items() if name in figures]
        if bars:
            parts.extend(_panel(title, bars, top))
            top += _HEAD + _ROW * len(bars)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top + _ROW}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _panel(title: str, bars: Sequence[_Bar], top: int) -> Iterator[str]:
    yield f'<text x="10" y="{top + 26}" font-weight="bold">{html.escape(title)}</text>'
    scale = (_WIDTH - _LABELS - _NUMBERS) / max(bar.values.maximum for bar in bars)
    for row, bar in enumerate(bars):
        y = top + _HEAD + row * _ROW
        low, median, high = (value * scale for value in bar.values)
        middle = y + _ROW // 2 - 2
        yield f'<text x="{_LABELS - 8}" y="{y + 13}" text-anchor="end">{html.escape(bar.label)}</text>'
        yield f'<rect x="{_LABELS}" y="{y + 2}" width="{median:.1f}" height="{_ROW - 8}" fill="{_BAR}"/>'
        yield (
            f'<line x1="{_LABELS + low:.1f}" x2="{_LABELS + high:.1f}" y1="{middle}" y2="{middle}" '
            f'stroke="{_WHISKER}" stroke-width="2"/>'
        )
        yield f'<text x="{_LABELS + high + 6:.1f}" y="{y + 13}">{report.number(bar.values.median)}</text>'
