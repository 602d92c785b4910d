"""Ask a part how it is: what has been killed answers nothing, what hangs answers too late."""

from __future__ import annotations

import functools
import json
import urllib.error
import urllib.request
from concurrent import futures
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Readiness takes 2 s at most, when somebody else does not answer.
PATIENCE_S = 2.2


@dataclass(frozen=True, slots=True)
class Health:
    """How a part is: what is wrong in one sentence, empty when it is well; and check by check, as far as it answers."""

    url: str
    problem: str
    problems: Mapping[str, str] = field(default_factory=dict)
    well: Mapping[str, str] = field(default_factory=dict)


def asked(urls: Mapping[str, str]) -> dict[str, Callable[[], str]]:
    """Return by name how each part is asked."""
    return {name: functools.partial(ask, url) for name, url in urls.items()}


def ask(url: str) -> str:
    """Return what is wrong with the part that serves `/readyz` at this address, empty when it is well."""
    return look(url).problem


def look_at(urls: Mapping[str, str]) -> Mapping[str, Health]:
    """Ask all of these at once, and return by name how each is."""
    if not urls:
        return {}
    with futures.ThreadPoolExecutor(len(urls), thread_name_prefix="parts") as pool:
        return dict(zip(urls, pool.map(look, urls.values()), strict=True))


def look(url: str) -> Health:
    """Return how the part is that serves `/readyz` at this address."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/readyz", timeout=PATIENCE_S) as answer:  # noqa: S310 - checked
            return Health(url, "", *_checks(answer.read()))
    except urllib.error.HTTPError as error:
        with error:
            problems, well = _checks(error.read())
        said = "; ".join(f"{name}: {text}" for name, text in problems.items()) or "it does not say why"
        return Health(url, f"at {url} is not ready: {said}", problems, well)
    except OSError as error:
        reason = getattr(error, "reason", error)
        return Health(url, f"at {url} does not answer ({reason}): it is dead, stopped, or hangs")


def _checks(body: bytes) -> tuple[Mapping[str, str], Mapping[str, str]]:
    try:
        said: Any = json.loads(body)
        return dict(said.get("problems", {})), dict(said.get("well", {}))
    except (ValueError, TypeError, AttributeError):
        return {}, {}
