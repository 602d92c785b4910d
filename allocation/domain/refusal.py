"""The one kind of "no" that the business can say.

A refusal is final for its attempt: the message is neither retried nor dropped, it goes to the
dead letters with `reason`. Whoever raises one must not have changed anything before.
"""

from __future__ import annotations

from typing import ClassVar


class Refusal(Exception):
    """A command that the business refuses; the message names the offending values.

    `reason` is a stable word that programs may depend on, the text is for people.
    """

    reason: ClassVar[str]


class Invalid(Refusal):
    """A field holds a value that no command may have."""

    reason = "invalid"


class Conflict(Refusal):
    """The command contradicts what is already known."""

    reason = "conflict"
