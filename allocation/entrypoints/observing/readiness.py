"""Whether a part can do its work, check by check, each with its reason; the same for every part.

What a part says of itself counts, and what can be looked up beside it. Silence is a problem too: the
loop that should speak hangs.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from allocation.entrypoints.observing import asking

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from concurrent import futures

    from allocation.service_layer import signals
    from allocation.service_layer.operations import status

# In all, however many are asked: orchestrators give a probe some seconds, and often less is set.
PATIENCE_S = 2.0
# Longer than any turn of a loop, which the database's own time-outs end after 30 s.
_SILENT_AFTER_S = 45.0

OK = "ok"


class Check(NamedTuple):
    """How one thing is, and whether that is as it should be."""

    text: str
    is_well: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """All checks by name, and the figures that were seen for them, None where nobody answered."""

    checks: Mapping[str, Check]
    database: status.DatabaseFigures | None = None
    partitions: Sequence[status.Partition] | None = None

    def without(self, names: Collection[str]) -> Answer:
        """Return the answer that does not mind these checks."""
        return dataclasses.replace(
            self, checks={name: check for name, check in self.checks.items() if name not in names}
        )

    @property
    def status(self) -> int:
        """The HTTP status."""
        return 503 if any(not check.is_well for check in self.checks.values()) else 200

    @property
    def body(self) -> Mapping[str, object]:
        """What is said in JSON, the problems first."""
        return {
            "ready": self.status == 200,  # noqa: PLR2004 - HTTP's
            "problems": {name: check.text for name, check in self.checks.items() if not check.is_well},
            "well": {name: check.text for name, check in self.checks.items() if check.is_well},
        }


class Readiness:
    """Looks at one part; any thread may ask, and none waits for longer than `PATIENCE_S`.

    `expected` are the errors by which those who are asked say that they cannot answer; `partitions` asks Kafka, and
    returns None where nobody wants to know them.
    """

    def __init__(
        self,
        *,
        standing: signals.Standing,
        database: Callable[[], status.DatabaseFigures],
        partitions: Callable[[], Sequence[status.Partition] | None],
        others: Mapping[str, Callable[[], object]],
        expected: tuple[type[Exception], ...],
        outbox_age_limit_s: float,
    ) -> None:
        self._standing = standing
        self._database = asking.Question(database)
        self._partitions = asking.Question(partitions)
        self._others: dict[str, asking.Question[Any]] = {name: asking.Question(check) for name, check in others.items()}
        self._expected = expected
        self._outbox_age_limit_s = outbox_age_limit_s

    def look(self) -> Answer:
        """Check everything."""
        now = time.monotonic()
        checks = {item: _said(said, now) for item, said in self._standing.items().items()}
        asked: dict[str, futures.Future[Any]] = {"database": self._database.asked(), "kafka": self._partitions.asked()}
        asked |= {name: question.asked() for name, question in self._others.items()}
        checks |= {name: self._check(answer, now + PATIENCE_S) for name, answer in asked.items()}
        database = asked["database"].result() if checks["database"].is_well else None
        if database is not None:
            checks["outbox"] = self._outbox(database.outbox)
        return Answer(checks, database, asked["kafka"].result() if checks["kafka"].is_well else None)

    def _check(self, answer: futures.Future[Any], deadline: float) -> Check:
        try:
            answer.result(max(deadline - time.monotonic(), 0.0))
        except TimeoutError:
            return Check(f"no answer within {PATIENCE_S:g} s", is_well=False)
        except self._expected as error:
            return Check(" ".join(str(error).split()), is_well=False)
        return Check(OK, is_well=True)

    def _outbox(self, outbox: status.Backlog) -> Check:
        age_s = outbox.oldest_age_s or 0.0
        if age_s <= self._outbox_age_limit_s:
            return Check(f"{outbox.rows} rows", is_well=True)
        return Check(f"{outbox.rows} rows wait, the oldest for {age_s:.1f} s: no relay sends them", is_well=False)


def _said(said: signals.Said, now: float) -> Check:
    if said.problem is not None:
        return Check(said.problem, is_well=False)
    if now - said.at > _SILENT_AFTER_S:
        return Check(f"has said nothing for {now - said.at:.0f} s, and before: {said.state}", is_well=False)
    return Check(said.state, is_well=True)
