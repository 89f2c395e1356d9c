"""A real Chromium for tests of pages, driven by Playwright. A module takes its fixtures with

    chromium, visit = browser.chromium, browser.visit

`visit` opens a page in a window of its own. When the test ends, every page must have been calm: no error on its console and none
thrown, and no request to anywhere but the page's own origin (`file:`, `data:` and `blob:` besides).
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from playwright.sync_api import Browser, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SOFTWARE_WEBGL = ("--enable-unsafe-swiftshader",)
"""WebGL without a graphics processor."""
NO_WEBGL = ("--disable-gpu", "--disable-software-rasterizer")
PATIENCE_S = 40.0
"""How long tests wait for what a page shall show: far longer than it takes, for the machine may have other work."""
_LOCAL_SCHEMES = ("file", "data", "blob", "about")
_DRIVER_NOISE = "GPU stall due to ReadPixels"
"""What SwiftShader says of a screenshot."""


@contextmanager
def started_chromium(*arguments: str) -> Iterator[Browser]:
    """Start Chromium without a window; the test is skipped where there is none, or no Playwright.

    Playwright keeps an event loop in its thread: other code of the same process cannot run one before this ends.
    """
    library = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install '.[browser]'")
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("no Chromium: install the package chromium")
    with library.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*_ARGUMENTS, *arguments])
        try:
            yield browser
        finally:
            browser.close()


class Visits:
    """The pages that a test opened, and what they did."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._pages: list[Page] = []
        self.faults: list[str] = []
        self.requests: list[str] = []

    def __call__(
        self,
        url: str | Path,
        *,
        width: int = 1280,
        height: int = 720,
        dark: bool = False,
        before: str = "",
        **settings: Any,
    ) -> Page:
        """Open a page, by its address or as a file; `before` is a script to run before those of the page.

        Args:
            url: the address, or a file.
            width: of the window, in CSS pixels.
            height: of the window.
            dark: what the system says to prefer.
            before: JavaScript.
            settings: others of Playwright's `Browser.new_context`.
        """
        address = url.resolve().as_uri() if isinstance(url, Path) else url
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            service_workers="block",
            accept_downloads=True,
            **settings,
        )
        context.set_default_timeout(1000 * PATIENCE_S)
        page = context.new_page()
        self._watch(page, address)
        if before:
            page.add_init_script(before)
        page.goto(address)
        return page

    def _watch(self, page: Page, address: str) -> None:
        origin = urlsplit(address)[:2]

        def requested(target: str) -> None:
            self.requests.append(target)
            if urlsplit(target).scheme not in _LOCAL_SCHEMES and urlsplit(target)[:2] != origin:
                self.faults.append(f"a request to {target[:200]}")

        def said(message: Any) -> None:
            if message.type in ("error", "warning") and _DRIVER_NOISE not in message.text:
                self.faults.append(f"{message.type} on the console: {message.text[:500]}")

        page.on("console", said)
        page.on("pageerror", lambda error: self.faults.append(f"thrown: {error}"))
        page.on("request", lambda request: requested(request.url))
        page.on("websocket", lambda socket: requested(socket.url))
        page.on("crash", lambda _: self.faults.append("the page crashed"))
        self._pages.append(page)

    def forgive(self, *parts: str) -> None:
        """Take back the faults that contain one of `parts`: a failed request that a test provokes is an error on the console."""
        self.faults = [fault for fault in self.faults if not any(part in fault for part in parts)]

    def close(self) -> None:
        """Close all pages, when what they have to say by then was heard."""
        for page in self._pages:
            if not page.is_closed():
                page.evaluate("0")
            page.context.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A Chromium for the tests of a module, with WebGL."""
    with started_chromium(*SOFTWARE_WEBGL) as browser:
        yield browser


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visits]:
    """Opens pages, see `Visits`, which must be calm."""
    visits = Visits(chromium)
    yield visits
    visits.close()
    assert not visits.faults, "\n".join(visits.faults)


def picture_of(page: Page, selector: str | None = None) -> NDArray[np.uint8]:
    """A screenshot of the page, or of an element of it, (H, W, 3)."""
    data = page.locator(selector).screenshot() if selector is not None else page.screenshot()
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGB"))


def near_colour(picture: NDArray[np.uint8], colour: str, within: int = 40) -> NDArray[np.bool_]:
    """Which pixels (H, W) are near a colour such as "#0072b2": off by at most so much in each of red, green and blue."""
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    close: NDArray[np.bool_] = (np.abs(picture.astype(int) - wanted) <= within).all(axis=2)
    return close


def wait_until(page: Page, expression: str, *, seconds: float = PATIENCE_S) -> None:
    """Wait until JavaScript is true. Playwright's own `wait_for_function` wants a policy that lets pages evaluate text."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never came: {expression}"
        page.wait_for_timeout(20)


_RECORD_FRAMES = """() => {
    window.frameTimes = [];
    let last = performance.now();
    requestAnimationFrame(function step(now) {
        window.frameTimes.push(now - last);
        last = now;
        requestAnimationFrame(step);
    });
}"""


def record_frames(page: Page) -> None:
    """Begin to note how long each frame takes, for `frame_times`."""
    page.evaluate(_RECORD_FRAMES)


def frame_times(page: Page) -> NDArray[np.float64]:
    """How long each frame since `record_frames` took, in ms: from one `requestAnimationFrame` to the next."""
    return np.array(page.evaluate("window.frameTimes.slice(1)"))
