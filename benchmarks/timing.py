"""What every benchmark shares: CPU seconds, child processes that hand back figures, and medians. Standard library only.

A contestant runs in a process of its own, perhaps under another Python, so this module must import nothing but the library
that every Python has.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

REFERENCE_PARAMETERS = 1_351_315
"""Trainable parameters of the reference network: a contestant that has another number trains another network."""


class NotMeasuredError(Exception):
    """A contestant could not be measured; the text is a sentence that says why."""


def cpu_seconds() -> float:
    """Return the user and system seconds of this process, all its threads, and those of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Stopwatch:
    """CPU and wall seconds between `start` and the last `stop`, and the images in between."""

    def __init__(self) -> None:
        self._start: tuple[float, float] | None = None
        self.cpu_seconds = self.wall_seconds = 0.0

    def start(self) -> None:
        """Begin to measure."""
        self._start = cpu_seconds(), time.perf_counter()

    def stop(self) -> None:
        """Note the time since `start`; may be called again later."""
        if self._start is None:
            sys.exit("The contestant ended before its warm-up did: give it more images.")
        self.cpu_seconds = cpu_seconds() - self._start[0]
        self.wall_seconds = time.perf_counter() - self._start[1]

    def figures(self, images: int, versions: dict[str, str]) -> dict[str, Any]:
        """Return what a contestant hands back, for `images` measured images."""
        return {
            "images": images,
            "cpu_seconds": self.cpu_seconds,
            "wall_seconds": self.wall_seconds,
            "versions": versions,
        }


def contestant_arguments(description: str, *options: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """Return the arguments that every contestant takes, and its own `options` (name, keywords of `add_argument`)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("images", type=Path, help="the faces: .npy, uint8 (N, 32, 32, 3), or faces.h5 for facevae")
    parser.add_argument("result", type=Path, help="where to write the figures, as JSON")
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--warmup", type=int, default=2, help="steps before the measurement")
    for name, keywords in options:
        parser.add_argument(name, **keywords)
    return parser.parse_args()


def hand_back(path: Path, figures: dict[str, Any]) -> None:
    """Write a contestant's figures to where its parent reads them."""
    path.write_text(json.dumps(figures), encoding="utf-8")


def check_parameters(count: int) -> None:
    """End the contestant with a sentence unless its network has as many parameters as the reference."""
    if count != REFERENCE_PARAMETERS:
        sys.exit(f"The network has {count:,} parameters, not {REFERENCE_PARAMETERS:,}: it is not the reference's.")


def run_contestant(python: str, script: str, *arguments: str | Path, environment: dict[str, str]) -> dict[str, Any]:
    """Run a contestant under `python` and return its figures.

    Raises:
        NotMeasuredError: it failed, or `python` does not exist.
    """
    with tempfile.TemporaryDirectory(prefix="facevae-benchmark-") as directory:
        result = Path(directory) / "figures.json"
        first, *rest = map(str, arguments)
        command = [python, str(HERE / script), first, str(result), *rest]
        try:
            done = subprocess.run(
                command, cwd=directory, env=environment, capture_output=True, encoding="utf-8", errors="replace"
            )
        except OSError as error:
            raise NotMeasuredError(f"{python} cannot be run: {error.strerror or error}.") from error
        if done.returncode or not result.exists():
            raise NotMeasuredError(last_line(done.stderr) or f"{script} ended with code {done.returncode}.")
        figures: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return figures


def last_line(text: str) -> str:
    """Return the last line of `text` that is not blank."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def interleaved(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """Run every contestant once a round, A B C A B C, so that a noisy machine is noisy to all of them alike.

    One that cannot be measured is named with the reason, and left out from then on.
    """
    figures: dict[str, list[Any]] = {name: [] for name in contestants}
    out: set[str] = set()
    for number in range(1, rounds + 1):
        for name, run in contestants.items():
            if name in out:
                continue
            try:
                figures[name].append(run())
            except NotMeasuredError as reason:
                print(f"{name} is not measured: {reason}", file=sys.stderr)
                out.add(name)
        print(f"round {number} of {rounds} done", file=sys.stderr)
    return {name: taken for name, taken in figures.items() if taken}


def measure(contestants_of: Callable[[Path], dict[str, Callable[[], Any]]], rounds: int) -> dict[str, list[Any]]:
    """Return what all contestants measured, whose files `contestants_of` writes to a folder that is gone afterwards.

    Ends the program with a sentence where nothing can be measured.
    """
    from facevae.errors import FacevaeError  # here, because rivals without facevae import this module too

    with tempfile.TemporaryDirectory(prefix="facevae-benchmark-") as directory:
        try:
            contestants = contestants_of(Path(directory))
        except FacevaeError as error:
            sys.exit(str(error))
        results = interleaved(contestants, rounds)
    if not results:
        sys.exit("No contestant could be measured.")
    return results


def median_of(figures: Sequence[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> float:
    """Return the median of `value` over the rounds."""
    return statistics.median(value(figure) for figure in figures)


def facevae_command(*arguments: str | Path) -> list[str]:
    """Return the command line of facevae under this Python, whether or not its script is on the path."""
    return [sys.executable, "-m", "facevae", *map(str, arguments)]
