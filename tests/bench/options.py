"""What is measured, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much work a case gets; `smoke` shows that it runs, and says nothing about speed."""

    commands: int = 100_000
    book_commands: int = 2_000
    warm_up_commands: int = 50_000
    skus: int = 1_000
    outbox_rows: int = 200_000
    storm_lines: int = 10_000
    old_lines: int = 1_000_000
    many_lines_per_sku: int = 100_000
    batches_per_sku: int = 2_000
    latency_s: float = 15.0
    warm_up_s: float = 3.0
    rates: tuple[int, ...] = (50, 200, 1_000)


SMOKE = Sizes(
    commands=300,
    book_commands=20,
    warm_up_commands=0,
    skus=20,
    outbox_rows=300,
    storm_lines=50,
    old_lines=200,
    many_lines_per_sku=100,
    batches_per_sku=20,
    latency_s=1.0,
    warm_up_s=0.2,
    rates=(200,),
)
