"""Break something, then run a part as always."""

from __future__ import annotations

import sys

from allocation.entrypoints.cli import app
from tests.chaos.broken import relays, workers

VARIANTS = {variant.__name__: variant for variant in (*workers.VARIANTS, *relays.VARIANTS)}


def main() -> None:
    """Run `allocation PART` with the variant of that name, or several with + between them."""
    for variant in sys.argv.pop(1).split("+"):
        VARIANTS[variant]()
    app.main()


if __name__ == "__main__":
    main()
