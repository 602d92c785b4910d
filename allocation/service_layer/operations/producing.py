"""Send commands just as they are given, single ones or a stream of JSON lines.

Whether a command is valid is for the service to judge, which says so in the dead letters. Only what
Avro cannot hold is refused here: a quantity of -3 goes out, a quantity of "three" does not.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Protocol

from allocation.service_layer import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from allocation.service_layer import envelopes, ports

# The `ce_source` of the commands that are sent here; with an id it is the identity of a command.
SOURCE = "allocation/cli"

# Somebody waits for a single command; a broker's restart takes less.
_PATIENCE_S = 10.0

# What a command must say, and what stands for what it may leave out; the names as in its schema.
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "CreateBatch": ("ref", "sku", "qty"),
    "Allocate": ("orderid", "sku", "qty"),
    "ChangeBatchQuantity": ("batchref", "qty"),
}
_OPTIONAL: Mapping[str, Mapping[str, None]] = {
    "CreateBatch": {"eta": None},
    "Allocate": {},
    "ChangeBatchQuantity": {"sku": None},
}
_TEXTS = frozenset({"ref", "orderid", "sku", "batchref"})


class Unsendable(Exception):
    """No message can be made of what was given; says why."""


@dataclass(frozen=True, slots=True)
class GivenCommand:
    """A command as it was given, unchecked: the name of its record, its fields as the schema calls them.

    Without an id it gets a new one.
    """

    type: object
    fields: Mapping[str, Any]
    id: object = None


class Producer(Protocol):
    """Sends messages; each method blocks until they are acknowledged, and raises `DependencyDown`."""

    def send(self, message: messages.OutboxMessage, *, timeout_s: float) -> ports.Coordinates:
        """Send one message and return where it lies; `DependencyDown` when that takes longer."""

    def send_all(
        self, outgoing: Iterable[messages.OutboxMessage], *, on_delivery: Callable[[ports.Coordinates], None]
    ) -> int:
        """Send any number, taking them one by one; `on_delivery` hears of each in another thread."""


class Sender:
    """Sends given commands; `new_id` names those that come without an id."""

    def __init__(
        self,
        *,
        producer: Producer,
        envelopes: envelopes.Envelopes,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._producer = producer
        self._envelopes = envelopes
        self._now = now
        self._new_id = new_id

    def send(self, given: GivenCommand) -> ports.Coordinates:
        """Send one command and return where it lies; raises `Unsendable`, `DependencyDown`."""
        return self._producer.send(self.wrap(given), timeout_s=_PATIENCE_S)

    def send_lines(
        self,
        lines: Iterable[bytes],
        *,
        on_unsendable: Callable[[int, Unsendable], bool],
        on_delivery: Callable[[ports.Coordinates], None] = lambda _: None,
    ) -> int:
        """Send JSON lines one by one as they are read, and return how many there were.

        `on_unsendable` is as for `wrap_lines`; `on_delivery` hears of each acknowledged one, in
        another thread. Raises `DependencyDown`; those that were acknowledged stay sent.
        """
        return self._producer.send_all(self.wrap_lines(lines, on_unsendable=on_unsendable), on_delivery=on_delivery)

    def wrap(self, given: GivenCommand) -> messages.OutboxMessage:
        """Return the message; raises `Unsendable`."""
        name = _record_name(given)
        fields = _complete(name, given.fields)
        identity = messages.MessageId(SOURCE, self._new_id() if given.id is None else _text("id", given.id))
        try:
            return self._envelopes.fields(name, fields, id=identity, time=self._now())
        except (TypeError, ValueError) as error:
            raise Unsendable(str(error)) from error

    def wrap_lines(
        self, lines: Iterable[bytes], *, on_unsendable: Callable[[int, Unsendable], bool]
    ) -> Iterator[messages.OutboxMessage]:
        """Yield the messages of JSON lines; empty lines are skipped.

        A line that no message can be made of is told with its number, from 1: the answer says
        whether to go on behind it.
        """
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                message = self.wrap(parse(line))
            except Unsendable as error:
                if not on_unsendable(number, error):
                    return
            else:
                yield message


def parse(line: bytes) -> GivenCommand:
    """Read `{"type": "Allocate", …its fields, "id": …}`; raises `Unsendable`."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"it is no JSON: {error}"
        raise Unsendable(msg) from error
    if not isinstance(found, dict):
        msg = f'it is no JSON object such as {{"type": "Allocate", …}}, but {line[:40]!r}'
        raise Unsendable(msg)
    return GivenCommand(found.pop("type", None), id=found.pop("id", None), fields=found)


def _record_name(given: GivenCommand) -> str:
    if isinstance(given.type, str) and given.type in _REQUIRED:
        return given.type
    msg = f"type is {given.type!r}; it must be one of {', '.join(_REQUIRED)}"
    raise Unsendable(msg)


def _complete(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check what the schema does not, and add what was left out."""
    required, optional = _REQUIRED[name], _OPTIONAL[name]
    _check_names(name, given, required, optional)
    fields = {**optional, **given}
    for field, value in fields.items():
        if value is None and field in optional:
            continue
        if field in _TEXTS:
            _text(field, value)
        elif field == "eta":
            fields[field] = _day(value)
    return fields


def _check_names(name: str, given: Mapping[str, Any], required: tuple[str, ...], optional: Mapping[str, None]) -> None:
    missing = [field for field in required if field not in given]
    unknown = [field for field in given if field not in required and field not in optional]
    if missing or unknown:
        fact = f"lacks {', '.join(missing)}" if missing else f"has no field {', '.join(unknown)}"
        msg = f"{name} {fact}; its fields are {', '.join((*required, *optional))}"
        raise Unsendable(msg)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        msg = f"{name} is {value!r}; it must be a string"
        raise Unsendable(msg)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        msg = f"{name} is {value!r}, which holds a lone surrogate; that is no character"
        raise Unsendable(msg) from error
    return value


def _day(value: object) -> date:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    with contextlib.suppress(ValueError):
        if isinstance(value, str):
            return date.fromisoformat(value)
    msg = f"eta is {value!r}; it must be a day such as '2027-01-31'"
    raise Unsendable(msg)
