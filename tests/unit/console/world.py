"""A console with fakes behind it."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from starlette import testclient

from allocation.entrypoints.console import application, audience
from allocation.service_layer import ports

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from allocation.service_layer.operations import audit
    from allocation.service_layer.operations import dead_letters as letters

TOKEN = "a token for the tests"
URL = "http://localhost:5010"


class FakeOperations:
    """Remembers what is asked for; `down` makes everything fail as it does without the services."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.down = False

    def stock(self, prefix: str, first: int, count: int) -> dict[str, Any]:
        return self._note("stock", prefix, first, count)

    def story(self, kind: str, id_: str, sku: str | None) -> dict[str, Any]:
        return self._note("story", kind, id_, sku)

    def dead_letters(self, *, only_open: bool) -> dict[str, Any]:
        return self._note("dead_letters", only_open)

    def parked(self) -> dict[str, Any]:
        return self._note("parked")

    def plan(self, since: datetime | None) -> dict[str, Any]:
        return self._note("plan", since)

    def compare(self, schema: str) -> dict[str, Any]:
        return self._note("compare", schema)

    def decide(self, decision: str, places: Collection[letters.Place], note: audit.Note) -> dict[str, Any]:
        return self._note(decision, *map(str, places), note)

    def release(self, queue: str, note: audit.Note) -> dict[str, Any]:
        return self._note("release", queue, note)

    def discard(self, ids: Collection[int], note: audit.Note) -> dict[str, Any]:
        return self._note("discard", *ids, note)

    def _note(self, *what: object) -> dict[str, Any]:
        if self.down:
            raise ports.DependencyDown("the database does not answer: it is\ndown")
        self.asked.append(what)
        return {"said": "done"}


class World:
    def __init__(self, *, token: str | None = TOKEN, names: Collection[str] = ()) -> None:
        self.operations = FakeOperations()
        self.stop = threading.Event()
        self.looks = 0
        watched = audience.Audience(lambda: None, self._look, settle_s=0.001, interval_s=0.01, stop=self.stop)
        app = application.create(watched, self.operations, names=names, token=token)
        self.client = testclient.TestClient(app, base_url=URL)

    def change(self, path: str = "parked/release", body: Any = None, **headers: str | None) -> Any:
        """Call as the page does, but for the headers given here; None leaves one out."""
        usual: dict[str, str | None] = {
            "authorization": f"Bearer {TOKEN}",
            "origin": URL,
            "sec-fetch-site": "same-origin",
            "content-type": "application/json",
        }
        given = {name: value for name, value in (usual | _dashed(headers)).items() if value is not None}
        body = {"queue": "sku:LAMP", "why": "mended"} if body is None else body
        return self.client.post(f"/api/{path}", content=json.dumps(body), headers=given)

    def _look(self) -> dict[str, Any]:
        self.looks += 1
        if self.looks == 3:
            self.stop.set()
        return {"look": self.looks, "name": "<b>\n\ndata: x"}


def _dashed(headers: dict[str, str | None]) -> dict[str, str | None]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
