from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from allocation.domain import commands, events
from allocation.service_layer import messagebus
from tests.fakes import unit_of_work as fakes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from allocation.service_layer import unit_of_work

HAPPENED = events.OutOfStock("LAMP", "o1", 1)


class UowWithEvents(fakes.FakeUnitOfWork):
    """Hands out what is to follow from each message, one list after another."""

    def __init__(self, *follows: list[events.Event | commands.Command]) -> None:
        super().__init__(fakes.FakeDatabase())
        self._follows = list(follows)

    def collect_new_events(self) -> Iterator[events.Event | commands.Command]:
        if self._follows:
            yield from self._follows.pop(0)


def test_a_command_goes_to_its_one_handler_which_may_answer() -> None:
    def allocate(command: commands.Allocate, _: unit_of_work.UnitOfWork) -> str:
        return f"a batch for {command.orderid}"

    bus = messagebus.MessageBus(UowWithEvents(), command_handlers={commands.Allocate: allocate})
    assert bus.handle(commands.Allocate("o1", "LAMP", 1)) == "a batch for o1"


def test_an_event_goes_to_all_its_handlers_in_order() -> None:
    heard: list[str] = []

    def first(*_: object) -> None:
        heard.append("first")

    def second(*_: object) -> None:
        heard.append("second")

    bus = messagebus.MessageBus(UowWithEvents(), event_handlers={events.OutOfStock: (first, second)})
    assert bus.handle(HAPPENED) is None
    assert heard == ["first", "second"]


def test_what_follows_is_handled_first_in_first_out_and_does_not_change_the_answer() -> None:
    handled: list[object] = []
    line = commands.Allocate("o2", "LAMP", 2)
    given = commands.Allocate("o1", "LAMP", 1)

    def note(message: object, _: unit_of_work.UnitOfWork) -> str:
        handled.append(message)
        return f"answer {len(handled)}"

    def hear(message: object, _: unit_of_work.UnitOfWork) -> None:
        handled.append(message)

    last = events.Deallocated("o3", "LAMP", 3, "b1")
    bus = messagebus.MessageBus(
        UowWithEvents([HAPPENED, line], [last], []),
        command_handlers={commands.Allocate: note},
        event_handlers={events.OutOfStock: (hear,), events.Deallocated: (hear,)},
    )
    assert bus.handle(given) == "answer 1"
    assert handled == [given, HAPPENED, line, last]


def test_a_message_that_nobody_handles_is_a_mistake() -> None:
    bus = messagebus.MessageBus(UowWithEvents(), event_handlers={})
    with pytest.raises(KeyError):
        bus.handle(HAPPENED)
