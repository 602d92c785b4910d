from __future__ import annotations

from typing import TYPE_CHECKING

from allocation.domain import commands
from allocation.service_layer import failures, messages, reading

if TYPE_CHECKING:
    from collections.abc import Callable


class Curse(Exception):
    pass


def broken(offset: int) -> None:
    """Fail in our own code, in a function of it."""
    record = messages.Record("allocate", "", 0, offset, 0, None, 3, (), 0)  # type: ignore[arg-type]
    reading.record_digest(record)


def failure_of(work: Callable[[], object]) -> failures.Failure:
    try:
        work()
    except Exception as error:  # noqa: BLE001 - any
        return failures.of(error)
    raise AssertionError("it does not fail")


def test_the_same_bug_has_the_same_digest_whatever_it_says() -> None:
    def longer_way() -> None:
        broken(2)

    first, second = failure_of(lambda: broken(1)), failure_of(longer_way)
    assert first.stack == second.stack
    assert len(first.stack) == 12
    assert first.error_class == "TypeError"
    assert first.error.startswith("TypeError: ")


def test_another_place_or_another_class_has_another_digest() -> None:
    elsewhere = failure_of(lambda: reading.digest(3, b""))  # type: ignore[arg-type]
    assert failure_of(lambda: broken(1)).stack != elsewhere.stack
    assert failure_of(lambda: _fail(KeyError())).stack != failure_of(lambda: _fail(Curse())).stack


def test_a_digest_is_known_from_one_release_to_the_next() -> None:
    assert failure_of(lambda: _fail(KeyError("x"))).stack == "d4d7a55b0c5a"


def test_what_an_error_says_can_be_stored() -> None:
    failure = failure_of(lambda: _fail(KeyError("NUL \0 and \ud800" + "x" * 100_000)))
    assert "\0" not in failure.error
    assert len(failure.error.encode()) < 2000


def _fail(error: Exception) -> None:
    commands.Allocate("o1", "LAMP", 1)
    raise error
