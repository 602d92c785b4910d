"""Take the pictures of the README: `python -m tests.e2e.screenshots`, from the demo's order lines on real services."""

from __future__ import annotations

import itertools
import json
import math
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from allocation import bootstrap, devstack
from allocation.entrypoints.cli.story import order_lines
from tests.e2e import browsers, consoles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from playwright import sync_api

    from allocation.service_layer.operations import producing

IMAGES = Path(__file__).parents[2] / "docs" / "images"
_SIZE: sync_api.ViewportSize = {"width": 1200, "height": 720}
_FLOW_S = 25.0  # until the charts have something to show
_LINES = 10_000
_Scheme = Literal["light", "dark"]


def main() -> None:
    """Start everything, let order lines flow, and take the pictures meanwhile."""
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        devstack.Stack(Path(directory)) as stack,
        consoles.watched(stack.endpoints, prefix="") as system,
        browsers.running() as browser,
    ):
        stop = threading.Event()
        sender = threading.Thread(target=_send, args=(system, stop))
        sender.start()
        try:
            _take_all(system.url, browser)
        finally:
            stop.set()
            sender.join()


def _send(system: consoles.Watched, stop: threading.Event) -> None:
    with bootstrap.command_sender(system.settings) as sender:
        sender.send_lines(_lines(stop), on_unsendable=_fail, on_delivery=lambda _at: None)


def _lines(stop: threading.Event) -> Iterator[bytes]:
    """Yield the stock, what happened to one order, and the order lines in waves, until told to stop."""
    lines = order_lines.read(_LINES)
    yield from (batch.command() for batch in order_lines.stock_for(lines, today=datetime.now(UTC).date()).batches)
    for number, line in enumerate(itertools.cycle(lines)):
        if stop.wait(0.001 + 0.004 * math.sin(number / 900) ** 2):
            return
        yield line.command()
        if number < len(_MOVED):
            yield json.dumps({"type": _MOVED[number].type, **_MOVED[number].fields}).encode()


def _fail(number: int, error: producing.Unsendable) -> bool:
    raise AssertionError(f"line {number}: {error}")


_MOVED = (
    consoles.a_batch("early-batch", "RETRO-LAMPSHADE", 50, "2030-12-24"),
    consoles.a_batch("late-batch", "RETRO-LAMPSHADE", 50, "2031-01-23"),
    consoles.an_order("order-1", "RETRO-LAMPSHADE", 10),
    consoles.a_change("early-batch", 5, "RETRO-LAMPSHADE"),
)


def _take_all(url: str, browser: sync_api.Browser) -> None:
    schemes: Iterable[_Scheme] = ("light", "dark")
    for scheme in schemes:
        page = browser.new_page(viewport=_SIZE, color_scheme=scheme)
        page.goto(url)
        page.wait_for_timeout(_FLOW_S * 1000)
        page.screenshot(path=IMAGES / f"console-flow-{scheme}.png")
        page.get_by_role("link", name="Stock").click()
        page.locator("#stock-list button").first.wait_for()
        page.screenshot(path=IMAGES / f"console-stock-{scheme}.png")
        page.goto(f"{url}/#/story/order/order-1")
        page.locator(".timeline li").first.wait_for()
        page.screenshot(path=IMAGES / f"console-story-{scheme}.png")
        page.get_by_role("link", name="Dead letters").click()
        page.locator("#letters td").first.wait_for()
        page.screenshot(path=IMAGES / f"console-letters-{scheme}.png")
        page.close()


if __name__ == "__main__":
    main()
