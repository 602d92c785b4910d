"""Ask a part how it is: what has been killed answers nothing, what hangs answers too late."""

from __future__ import annotations

import functools
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Readiness takes 2 s at most, when somebody else does not answer.
PATIENCE_S = 2.2


def asked(urls: Mapping[str, str]) -> dict[str, Callable[[], str]]:
    """Return by name how each part is asked."""
    return {name: functools.partial(ask, url) for name, url in urls.items()}


def ask(url: str) -> str:
    """Return what is wrong with the part that serves `/readyz` at this address, empty when it is well."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/readyz", timeout=PATIENCE_S) as answer:  # noqa: S310 - checked
            answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return f"at {url} is not ready: {_problems(error.read())}"
    except OSError as error:
        reason = getattr(error, "reason", error)
        return f"at {url} does not answer ({reason}): it is dead, stopped, or hangs"
    return ""


def _problems(body: bytes) -> str:
    try:
        said: Any = json.loads(body)
        problems: dict[str, Any] = said["problems"]
        return "; ".join(f"{name}: {text}" for name, text in problems.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        return "it does not say why"
