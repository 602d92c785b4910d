"""What the tests run against: the same four services, made in one of three ways.

`processes` (the default), `containers` and `external` are modules with one function each,
`running(directory)`, a context manager that yields a `RunningStack`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from allocation import devstack


class RunningStack(Protocol):
    """Services that answer at their addresses."""

    @property
    def endpoints(self) -> devstack.Endpoints: ...
