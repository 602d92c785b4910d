"""Times as options take them: one rule and one parser for all commands; what it takes is said in `targets`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from datetime import datetime

HELP = "such as 2030-01-31T08:00+01:00; the zone is needed"


def moment(text: str) -> datetime:
    """Return the time that is meant; for `parser=` of an option, which is named when it is none."""
    from allocation.service_layer.operations.replay import targets  # noqa: PLC0415 - takes longer to load than `--help` should

    try:
        return targets.moment(text)
    except targets.BadTime as error:
        raise typer.BadParameter(str(error)) from None
