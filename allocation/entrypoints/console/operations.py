"""What the console asks for and changes: the operations of the command line, in the form of its `--json` output.

Every method blocks. Each opens what it needs and closes it again: it is done now and then, by a person.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

from allocation import bootstrap
from allocation.entrypoints.cli import changing, dlq, parked, rebuilding, replay, showing
from allocation.service_layer.operations import audit, dead_letter_desk, history
from allocation.service_layer.operations import dead_letters as letters
from allocation.service_layer.operations import parked as parked_operation

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from allocation import config

SETTLE_TIMEOUT_S = 1.0  # a relay's commit shows within milliseconds; for a transaction that hangs no page waits
LIST_LENGTH = 500  # what a person looks through; the command line has all

Values = dict[str, Any]


class Operations(Protocol):
    """See `LiveOperations`; may be called from any thread."""

    def stock(self, prefix: str, first: int, count: int) -> Values:
        """Return a page of the skus that begin with `prefix`, with their batches."""

    def story(self, kind: str, id_: str, sku: str | None) -> Values:
        """Return what happened to an order, sku or batch."""

    def dead_letters(self, *, only_open: bool) -> Values:
        """Return the oldest dead letters."""

    def parked(self) -> Values:
        """Return the oldest parked commands."""

    def plan(self, since: datetime | None) -> Values:
        """Return how far each log goes back, and what a replay would read."""

    def compare(self, schema: str) -> Values:
        """Return what differs between the live tables and rebuilt ones."""

    def decide(self, decision: str, places: Collection[letters.Place], note: audit.Note) -> Values:
        """Redrive or discard dead letters."""

    def release(self, queue: str, note: audit.Note) -> Values:
        """Try the commands of a queue again."""

    def discard(self, ids: Collection[int], note: audit.Note) -> Values:
        """Send parked commands to the dead letters."""


class LiveOperations:
    """Does so in one installation; raises what `cli.failures` explains."""

    def __init__(self, settings: config.Settings, oversight: bootstrap.Oversight) -> None:
        self._settings = settings
        self._oversight = oversight

    def stock(self, prefix: str, first: int, count: int) -> Values:
        """Return a page of the skus that begin with `prefix`, with their batches."""
        return dataclasses.asdict(self._oversight.products(prefix, first, count))

    def story(self, kind: str, id_: str, sku: str | None) -> Values:
        """Return what happened to an order, sku or batch; reads the topics, which may take long."""
        with bootstrap.history(self._settings, _no_progress, settle_timeout_s=SETTLE_TIMEOUT_S) as maker:
            return showing.as_dict(maker.make(history.Subject(kind, id_, sku)), until=None)

    def dead_letters(self, *, only_open: bool) -> Values:
        """Return the oldest dead letters; reads their topic."""
        with bootstrap.dead_letters(self._settings, settle_timeout_s=SETTLE_TIMEOUT_S) as desk:
            found = (one for one in desk.find(letters.Filter()) if not (only_open and one.decision))
            chosen = list(dead_letter_desk.choose(found, limit=LIST_LENGTH + 1))
        chosen.sort(key=lambda one: one.age_order)
        return {"dead_letters": [dlq.as_dict(one) for one in chosen[:LIST_LENGTH]], "more": len(chosen) > LIST_LENGTH}

    def parked(self) -> Values:
        """Return the oldest parked commands."""
        with bootstrap.parked_commands(self._settings) as desk:
            found = desk.find(parked_operation.Filter(), limit=LIST_LENGTH + 1)
        return {"parked": [parked.as_dict(one) for one in found[:LIST_LENGTH]], "more": len(found) > LIST_LENGTH}

    def plan(self, since: datetime | None) -> Values:
        """Return how far each log goes back, and what a replay would read."""
        with bootstrap.replay_planner(self._settings, settle_timeout_s=SETTLE_TIMEOUT_S) as planner:
            lines = planner.plan(replay.all_topics(self._settings), since=since)
        return {"lines": [replay.fields(line) for line in lines]}

    def compare(self, schema: str) -> Values:
        """Return what differs between the live tables and rebuilt ones; reads all rows of both."""
        found = bootstrap.compare_rebuilt(
            self._settings, schema, database_url=None, keep=rebuilding.MAX_DIFFERENCES, on_progress=_no_progress
        )
        return rebuilding.as_dict(found)

    def decide(self, decision: str, places: Collection[letters.Place], note: audit.Note) -> Values:
        """Redrive or discard dead letters; those that were decided on before stay as they are."""
        with bootstrap.dead_letters(self._settings, settle_timeout_s=SETTLE_TIMEOUT_S) as desk:
            found = desk.find(letters.Filter(places=places))
            take = {"redrive": desk.redrive, "discard": desk.discard}[decision]
            return {"results": [_told(result) for result in take(found, note)]}

    def release(self, queue: str, note: audit.Note) -> Values:
        """Try the commands of a queue again, until one must stay."""
        with bootstrap.parked_commands(self._settings) as desk:
            return _released([desk.release(queue, note)])

    def discard(self, ids: Collection[int], note: audit.Note) -> Values:
        """Send parked commands to the dead letters, and go on with what stood behind them."""
        with bootstrap.parked_commands(self._settings) as desk:
            found = desk.find(parked_operation.Filter(ids=ids))
            return _released(desk.discard([one.parked for one in found], note))


def note(why: str, who: str) -> audit.Note:
    """Return what the audit is told: the name that was given in the page, else who runs the console."""
    given = changing.note(why, who or None)
    return audit.Note(f"{given.who} by the console", given.why)


def _told(result: dead_letter_desk.Result) -> Values:
    match result:
        case dead_letter_desk.Done():
            what, text = "done", ""
        case dead_letter_desk.Already(_, decision):
            what, text = "already", f"left as it is: {decision}"
        case dead_letter_desk.Impossible(_, error):
            what, text = "impossible", error
    return {"place": str(result.letter.place), "result": what, "text": text}


def _released(results: Collection[parked_operation.Released]) -> Values:
    return {"results": [{"queue": one.queue, "counts": dict(one.counts), "failure": one.failure} for one in results]}


def _no_progress(_text: str, _done: int, _total: int) -> None:
    return None
