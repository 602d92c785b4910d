"""Take the pictures of the README: `python -m tests.e2e.screenshots`, from the demo's order lines on real services."""

from __future__ import annotations

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
    from collections.abc import Iterator

    from playwright import sync_api

    from allocation.service_layer.operations import producing

IMAGES = Path(__file__).parents[2] / "docs" / "images"
_SIZE: sync_api.ViewportSize = {"width": 1120, "height": 620}
_TALL: sync_api.ViewportSize = {"width": 1120, "height": 630}  # all of the flow
_FLOW_S = 122.0  # until the charts are full
_LINES = 10_000
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


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
    """Yield the stock, then order lines in waves until told to stop, and what happens to one order in between."""
    lines = order_lines.read(_LINES)
    stock = order_lines.stock_for(lines, today=datetime.now(UTC).date())
    yield from (batch.command() for batch in stock.batches)
    yield from map(_line, _STOCK)
    stop.wait(_STOCK_S)
    for number, line in enumerate(lines):
        if stop.wait(0.007 + 0.012 * math.sin(number / 500) ** 2):
            return
        yield line.command()
        if number in _MOVES:
            yield _line(_MOVES[number])
    stop.wait()


def _line(command: producing.GivenCommand) -> bytes:
    return json.dumps({"type": command.type, **dict(command.fields)}).encode()


def _fail(number: int, error: producing.Unsendable) -> bool:
    raise AssertionError(f"line {number}: {error}")


_STOCK = (
    consoles.a_batch("early-batch", "RETRO-LAMPSHADE", 50, "2030-12-24"),
    consoles.a_batch("late-batch", "RETRO-LAMPSHADE", 50, "2031-01-23"),
)
_STOCK_S = 5.0  # until all of it is there
_MOVES = {
    300: consoles.an_order("order-1", "RETRO-LAMPSHADE", 10),
    900: consoles.a_change("early-batch", 5, "RETRO-LAMPSHADE"),
}


def _take_all(url: str, browser: sync_api.Browser) -> None:
    light, dark = (browser.new_page(viewport=_TALL, color_scheme=scheme) for scheme in _SCHEMES)
    for page in (light, dark):
        page.goto(url)
    light.wait_for_timeout(_FLOW_S * 1000)
    light.screenshot(path=IMAGES / "console-flow-light.png")
    dark.screenshot(path=IMAGES / "console-flow-dark.png")
    for page in (light, dark):
        page.set_viewport_size(_SIZE)
    light.get_by_role("link", name="Stock").click()
    light.locator("#stock-list button").first.wait_for()
    light.screenshot(path=IMAGES / "console-stock.png")
    dark.goto(f"{url}/#/story/order/order-1")
    dark.locator(".timeline li").first.wait_for()
    dark.screenshot(path=IMAGES / "console-story.png")


if __name__ == "__main__":
    main()
