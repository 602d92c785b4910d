"""What the calls that change something take, as JSON; what is too much or malformed is refused with its name."""

from __future__ import annotations

from typing import Annotated

import pydantic

from allocation.service_layer.operations import dead_letters

MAX_CHOSEN = 500
_MAX_TEXT = 1000
_PLACE = r"^\d{1,10}:\d{1,19}$"

Reason = Annotated[str, pydantic.StringConstraints(strip_whitespace=True, min_length=1, max_length=_MAX_TEXT)]
Name = Annotated[str, pydantic.StringConstraints(strip_whitespace=True, max_length=100)]
Place = Annotated[str, pydantic.StringConstraints(pattern=_PLACE)]


class Change(pydantic.BaseModel):
    """Why, and who; both go into the audit."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True)

    why: Reason
    who: Name = ""


class Letters(Change):
    """Dead letters by their place, such as 3:17."""

    places: Annotated[list[Place], pydantic.Field(min_length=1, max_length=MAX_CHOSEN)]

    def chosen(self) -> tuple[dead_letters.Place, ...]:
        """Return where they lie."""
        return tuple(dead_letters.Place(*map(int, place.split(":"))) for place in self.places)


class Queue(Change):
    """A queue of parked commands, such as sku:LAMP."""

    queue: Annotated[str, pydantic.StringConstraints(min_length=1, max_length=_MAX_TEXT)]


class Commands(Change):
    """Parked commands by their ids."""

    ids: Annotated[list[int], pydantic.Field(min_length=1, max_length=MAX_CHOSEN)]
