"""An overview as plain values, for JSON: the figures of `status --json`, and what moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allocation.entrypoints.cli import status

if TYPE_CHECKING:
    from allocation.service_layer.operations.overview import figures, flow, lately


def plain(overview: flow.Overview) -> dict[str, Any]:
    """Return all of it; null stands for what is not known."""
    seen = overview.seen
    return {
        "time": seen.time.isoformat(timespec="seconds"),
        "status": status.figures(overview.status),
        "alarms": [one._asdict() for one in overview.alarms],
        "lately": [_past(one) for one in overview.lately],
        "rates": overview.rates,
        "levels": overview.levels,
        "series": {name: [_rounded(value) for value in values] for name, values in overview.series.items()},
        "events": [
            {"topic": topic, "offsets": offsets, "rate": rate} for topic, (offsets, rate) in overview.topics.items()
        ],
        "arrivals": overview.arrivals,
        "stock": seen.stock and seen.stock._asdict(),
        "shards": [] if seen.work is None else [_shard(one, seen.work) for one in seen.work.shards],
        "poisoned": [] if seen.work is None else [one._asdict() for one in seen.work.poisoned],
        "parts": dict(seen.parts),
    }


def _past(one: lately.Past) -> dict[str, str]:
    began, ended = (time.isoformat(timespec="seconds") for time in (one.began, one.ended))
    return {"what": one.what, "text": one.text, "began": began, "ended": ended}


def _shard(shard: figures.Shard, work: figures.Work) -> dict[str, Any]:
    return {**shard._asdict(), "owner": work.database.owners.get(shard.owner)}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
