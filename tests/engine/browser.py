"""Headless Chromium for tests of pages: Debian's, Google's or what GSD_CHROMIUM names."""

from __future__ import annotations

import io
import os
import shutil
from contextlib import contextmanager

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# WebGL on the processor, no talk with its maker, and root may run it (CI is root).
OPTIONS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def program() -> str | None:
    """Path of the browser; None without one."""
    return os.environ.get("GSD_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def missing() -> str:
    """Why the tests cannot run here; empty if they can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed (tools/setup.sh --test)"
    if program() is None:
        return "there is no Chromium (apt-get install chromium, or name one with GSD_CHROMIUM)"
    return ""


class Watched:
    """A page and what it said and asked for."""

    def __init__(self, page) -> None:
        self.page, self.said, self.asked = page, [], []
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", lambda request: self.asked.append(request.url))

    def picture(self, selector: str) -> np.ndarray:
        """(h, w, 3) uint8 of an element as shown."""
        data = self.page.locator(selector).screenshot(animations="disabled")
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))

    def wait(self, selector: str, fits, seconds: float = 90) -> np.ndarray:
        """The element's picture as soon as it ``fits``; the last one when the time is over."""
        for _ in range(int(seconds * 4)):
            shown = self.picture(selector)
            if fits(shown):
                break
            self.page.wait_for_timeout(250)
        return shown


@contextmanager
def opened(path, width=420, height=420, **options):
    """A page opened from disk, watched."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=OPTIONS)
        try:
            context = browser.new_context(
                viewport={"width": width, "height": height}, offline=True, **options
            )
            context.set_default_timeout(300_000)  # WebGL on a processor under load is slow
            watched = Watched(context.new_page())
            watched.page.goto(path.resolve().as_uri())
            yield watched
        finally:
            browser.close()
