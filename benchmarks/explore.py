"""The explorer at CelebA's full size, in a real browser:  python benchmarks/explore.py

Builds 202,599 faces that the shipped weights make, encodes them and fits their map, or takes the workspace in `--dir`. Then, in a
headless Chromium without a GPU (its WebGL is computed on the processor), measures what a person would notice:

- the seconds from the command to the address, and from there to a page on which a face can be picked, with a map and without one;
- the milliseconds from a slider's event to the new picture, without and with VDSR;
- the milliseconds between two frames while the map is panned;
- the memory of the server, and of the page: its JavaScript heap, and the processes of the browser that draw it.

Needs Chromium and Playwright (`pip install '.[test]'`). What is the page's own is measured there, by `performance.now()`.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from drawn_faces import CELEBA_COUNT
from full_size import family, peak_of
from timing import facevae_command

from facevae.drawing import ATTRIBUTE_NAMES
from facevae.storage.faces import FacesWriter
from facevae.storage.shipped import shipped_weights
from facevae.storage.weights import FaceModel
from facevae.version import __version__

_BATCH = 4096
_VIEWPORT = {"width": 1280, "height": 720}
_FLAGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",
)
_MOVES = 200
_PANS = 120
_FRAMES = """
window.frameTimes = [];
(function () {
  let last = performance.now();
  function next(now) { window.frameTimes.push(now - last); last = now; requestAnimationFrame(next); }
  requestAnimationFrame(next);
})();
"""


def main() -> None:
    """Build, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=CELEBA_COUNT, help=f"how many (default {CELEBA_COUNT})")
    parser.add_argument(
        "--dir", type=Path, help="a workspace with latents.h5, measured as it is; or a place to build one"
    )
    arguments = parser.parse_args()
    if arguments.images < 1000:
        sys.exit("Take at least 1,000 images.")
    if chromium() is None:
        sys.exit("There is no Chromium: install the package chromium.")
    if arguments.dir is not None:
        arguments.dir.mkdir(parents=True, exist_ok=True)
        measure(arguments.dir, arguments.images)
    else:
        with tempfile.TemporaryDirectory(prefix="facevae-benchmark-") as name:
            measure(Path(name), arguments.images)


def measure(folder: Path, count: int) -> None:
    """Measure the explorer of the workspace in `folder`, which is built where it has no latents yet."""
    if not (folder / "latents.h5").exists():
        build(folder, count)
    with browser() as chromium_browser:
        aside = folder / "map.h5.aside"
        if (folder / "map.h5").exists():
            (folder / "map.h5").rename(aside)
        figures("without a map", start_up(folder, chromium_browser))
        (folder / "map.h5").unlink(missing_ok=True)
        if aside.exists():
            aside.rename(folder / "map.h5")
        else:
            subprocess.run(facevae_command("umap", "--coordinates", "map.h5", "--quiet"), cwd=folder, check=True)
        figures("with a map", start_up(folder, chromium_browser))
        walk(folder, chromium_browser)


def build(folder: Path, count: int) -> None:
    """Write faces.h5 with `count` faces of the shipped weights and random attributes, and their latents."""
    model = FaceModel.load(shipped_weights())
    random = np.random.default_rng(0)
    with FacesWriter(
        folder / "faces.h5",
        image_size=model.image_size,
        attribute_names=ATTRIBUTE_NAMES,
        resize_rule="none",
        split_rule="all train",
        source="faces drawn from the prior of the shipped weights",
        facevae_version=__version__,
    ) as writer:
        for start in range(0, count, _BATCH):
            rows = np.arange(start, min(start + _BATCH, count))
            attributes = np.where(random.random((len(rows), len(ATTRIBUTE_NAMES))) < 0.3, 1, -1).astype(np.int8)
            names = [f"{row:06}.png" for row in rows]
            split = np.zeros(len(rows), dtype=np.uint8)
            writer.append(model.decode(model.draw(len(rows), seed=start)), names, split, attributes)
        writer.finish()
    subprocess.run(facevae_command("encode", "-o", "latents.h5", "--quiet"), cwd=folder, check=True)


def figures(name: str, values: dict[str, float]) -> None:
    """Print a line of figures."""
    print(f"{name:<30}" + "   ".join(f"{key} {value:,.1f}" for key, value in values.items()), flush=True)


@contextmanager
def explorer(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """Run `facevae explore` in `folder`; give the process, its address, and the seconds until it was printed."""
    began = time.monotonic()
    command = facevae_command("explore", "--latents", "latents.h5", "--no-browser")
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            sys.exit("facevae explore did not start.")
        yield process, url, time.monotonic() - began
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def chromium() -> str | None:
    """Return the program, if there is one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for found in map(shutil.which, names) if found), None)


@contextmanager
def browser() -> Iterator[Any]:
    """Give a headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=list(_FLAGS))
        try:
            yield started
        finally:
            started.close()


def opened(chromium_browser: Any, url: str) -> tuple[Any, float]:
    """Open the page, wait until it is ready; return it and the seconds that took."""
    page = chromium_browser.new_page(viewport=_VIEWPORT)
    began = time.monotonic()
    page.goto(url)
    # A condition in JavaScript would need eval, which the page's policy forbids.
    page.locator("html[data-state=ready]").wait_for(state="attached", timeout=120_000)
    return page, time.monotonic() - began


def start_up(folder: Path, chromium_browser: Any) -> dict[str, float]:
    """Return the seconds from the command to its address, from there to a usable page, and both together."""
    with explorer(folder) as (_, url, seconds):
        page, more = opened(chromium_browser, url)
        page.close()
    return {"address after s": seconds, "page after s": more, "together s": seconds + more}


def walk(folder: Path, chromium_browser: Any) -> None:
    """Pan the map and move a slider, and print how that went and what memory it took."""
    with explorer(folder) as (process, url, _):
        page, _ = opened(chromium_browser, url)
        page.evaluate(_FRAMES)
        map_box = page.locator("canvas").first.bounding_box()
        figures("panning, ms a frame", spread(panned(page, map_box)))
        page.get_by_role("button", name="Random face").first.click()
        page.wait_for_timeout(1500)
        for name, label in (("slider to picture, ms", "Smooth"), ("  the display at VDSR, ms", "VDSR")):
            page.get_by_label(label, exact=True).first.check(force=True)
            page.wait_for_timeout(1500)
            times = dragged(page)
            figures(name, spread(times["latencies"] + times["upscaledLatencies"]))
            figures("    of them with VDSR", {"pictures": float(len(times["upscaledLatencies"]))})
        figures("VDSR, request to picture, ms", spread(page.evaluate("window.facevaeStats.upscaledRoundTrips")))
        heap = page.context.new_cdp_session(page).send("Runtime.getHeapUsage")["usedSize"]
        drawing = {name: size / 1e6 for name, size in drawing_processes().items()}
        server = sum(map(peak_of, family(process.pid)))
        figures("memory, MB", {"server at most": server / 1e6, "page's heap": heap / 1e6, **drawing})


def panned(page: Any, box: dict[str, float]) -> list[float]:
    """Return the milliseconds between frames while the map is dragged to and fro."""
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate("window.frameTimes.length = 0")
    for number in range(_PANS):
        far = 150 * np.sin(number / 10)
        page.mouse.move(x + far, y + far / 2)
    found: list[float] = page.evaluate("window.frameTimes")
    page.mouse.up()
    return found


def dragged(page: Any) -> dict[str, list[float]]:
    """Return the milliseconds from a slider's events to the new pictures, without and with VDSR, while the mouse drags it."""
    box = page.locator("input[type=range][min='-3']").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.evaluate("for (const list of Object.values(window.facevaeStats)) if (Array.isArray(list)) list.length = 0")
    for number in range(_MOVES):
        page.mouse.move(x + 0.4 * box["width"] * np.sin(number / 15), y)
        page.wait_for_timeout(16)
    stats: dict[str, list[float]] = page.evaluate("window.facevaeStats")
    page.mouse.up()
    page.wait_for_timeout(1500)
    return stats


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the 95th percentile and the number of some milliseconds."""
    ordered = sorted(values)
    return {
        "median": statistics.median(ordered),
        "95 %": ordered[int(0.95 * (len(ordered) - 1))],
        "of": float(len(ordered)),
    }


def drawing_processes() -> dict[str, float]:
    """Return the resident bytes of the largest renderer of the browser, and of its process for the GPU."""
    largest: dict[str, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode(errors="replace")
            pages = int((folder / "statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue
        for kind, name in (("renderer", "renderer"), ("gpu-process", "GPU process")):
            if f"--type={kind}" in command:
                largest[name] = max(largest.get(name, 0.0), 4096.0 * pages)
    return largest


if __name__ == "__main__":
    main()
