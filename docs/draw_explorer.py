"""Draws `docs/images/explorer.png`, the explorer with random faces of the shipped weights:  python docs/draw_explorer.py

Needs the extras `explore` and `test`, and Chromium. It waits for the map to be fitted, which takes a minute.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from PIL import Image

PICTURE = Path(__file__).parent / "images" / "explorer.png"
VIEW = "face=row/37&Smiling=1.8&Eyeglasses=1.5&color=Male"
SIZE = {"width": 1280, "height": 760}
FLAGS = ["--no-sandbox", "--disable-background-networking", "--no-first-run", "--enable-unsafe-swiftshader"]


def main() -> None:
    """Start the explorer in an empty folder, and take its picture."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "facevae", "explore", "--no-browser", "--port", "0", "--quiet"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            while fitting(url):
                time.sleep(1)
            photograph(url, Path(folder) / "page.png")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
        with Image.open(Path(folder) / "page.png") as page:
            page.convert("RGB").save(PICTURE, optimize=True)
    print(PICTURE)


def fitting(url: str) -> bool:
    """Return whether the map or the attributes are still being computed."""
    with urllib.request.urlopen(f"{url}api/state") as answer:
        state = json.load(answer)
    return bool(state["map"]["status"] == "fitting" or state["attributes_pending"])


def photograph(url: str, path: Path) -> None:
    """Write what a window shows of the page."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
        page.goto(f"{url}#{VIEW}")
        page.locator("html[data-state=ready]").wait_for(state="attached")
        page.locator("#neighbours img").nth(11).wait_for()
        page.wait_for_timeout(3000)
        for button in page.locator(".toast button").all():
            button.click()
        page.wait_for_timeout(600)
        page.screenshot(path=path)
        browser.close()


if __name__ == "__main__":
    main()
