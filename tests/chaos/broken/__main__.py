"""Break one thing, then run a part as always."""

from __future__ import annotations

import sys

from allocation.entrypoints.cli import app
from tests.chaos.broken import relays, workers

VARIANTS = {variant.__name__: variant for variant in (*workers.VARIANTS, *relays.VARIANTS)}


def main() -> None:
    """Run `allocation PART` with the variant of that name."""
    variant = sys.argv.pop(1)
    VARIANTS[variant]()
    app.main()


if __name__ == "__main__":
    main()
