"""The message bus: carries a command to its handler, and what comes of it to theirs, first in first out.

It works inside a unit of work that its caller has opened, and commits nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from allocation.service_layer import handlers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from allocation.domain import commands, events
    from allocation.service_layer import unit_of_work


class MessageBus:
    """Dispatches by type; the tables of handlers can be replaced, in tests say."""

    def __init__(
        self,
        uow: unit_of_work.UnitOfWork,
        *,
        command_handlers: Mapping[type, Callable[[Any, unit_of_work.UnitOfWork], str | None]] | None = None,
        event_handlers: Mapping[type, tuple[Callable[[Any, unit_of_work.UnitOfWork], None], ...]] | None = None,
    ) -> None:
        self.uow = uow
        self._command_handlers = handlers.COMMAND_HANDLERS if command_handlers is None else command_handlers
        self._event_handlers = handlers.EVENT_HANDLERS if event_handlers is None else event_handlers

    def handle(self, message: commands.Command | events.Event) -> str | None:
        """Handle a message and all that follows from it; return what the first handler returned.

        Raises the `Refusal` of the command's handler; nothing was changed then.
        """
        result = self._dispatch(message)
        queue = deque(self.uow.collect_new_events())
        while queue:
            self._dispatch(queue.popleft())
            queue.extend(self.uow.collect_new_events())
        return result

    def _dispatch(self, message: commands.Command | events.Event) -> str | None:
        handler = self._command_handlers.get(type(message))
        if handler is not None:
            return handler(message, self.uow)
        for event_handler in self._event_handlers[type(message)]:
            event_handler(message, self.uow)
        return None
