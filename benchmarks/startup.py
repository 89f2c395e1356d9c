"""From the command to the first step, against importing torch:  python benchmarks/startup.py

Runs `facevae train` on a file of CelebA's size (202,599 faces, the split `train` of 162,770) again and again, in turn with
`python -c "import torch"`, and takes the medians. startup_probe.py stands in for the command: it runs the same entry point and
notes the time when the first step begins and when it is finished, and ends the process there. Both clocks run from the
start of the process. The last lines are the differences to importing torch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from drawn_faces import CELEBA_COUNT, write_full_size
from timing import HERE, NotMeasuredError, interleaved, last_line

LIMIT = 2.0
"""Seconds above importing torch until the first step."""


def seconds_until(command: list[str], directory: Path) -> dict[str, float]:
    """Run a command that prints `name time` lines, times as `time.time()`, and return the seconds from its start to each.

    Raises:
        NotMeasuredError: it failed.
    """
    start = time.time()
    done = subprocess.run(command, cwd=directory, env={**os.environ}, capture_output=True, text=True)
    stamps = dict(
        line.removeprefix("stamp ").rsplit(" ", 1) for line in done.stdout.splitlines() if line[:6] == "stamp "
    )
    if done.returncode or not stamps:
        raise NotMeasuredError(last_line(done.stderr) or f"{command[0]} ended with code {done.returncode}.")
    return {name: float(stamp) - start for name, stamp in stamps.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=CELEBA_COUNT, help=f"in the file (default {CELEBA_COUNT})")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="facevae-benchmark-") as name:
        directory = Path(name)
        faces = write_full_size(directory / "faces.h5", arguments.images)
        torch = [sys.executable, "-c", "import torch, time; print('stamp torch is imported', time.time())"]
        probe = [
            sys.executable,
            str(HERE / "startup_probe.py"),
            "train",
            "--recipe",
            "note",
            "--faces",
            str(faces),
            "--quiet",
        ]
        probe += ["--device", arguments.device, "--output", str(directory / "vae.safetensors")]
        commands = {"import torch": torch, "facevae train": probe}
        runs = {what: partial(seconds_until, command, directory) for what, command in commands.items()}
        results = interleaved(dict(runs), arguments.rounds)
    if len(results) < len(runs):
        sys.exit("Without both there is nothing to compare.")
    medians = {
        stamp: statistics.median(one[stamp] for one in taken) for taken in results.values() for stamp in taken[0]
    }
    _print(medians, arguments)


def _print(medians: dict[str, float], arguments: argparse.Namespace) -> None:
    print(f"{arguments.images:,} images in the file, {arguments.device}, medians of {arguments.rounds} rounds")
    for stamp, seconds in medians.items():
        print(f"{stamp + ':':<28}{seconds:6.2f} s")
    base = medians.pop("torch is imported")
    for stamp, seconds in reversed(list(medians.items())):
        print(f"until {stamp}: {seconds - base:.2f} s more than importing torch (limit {LIMIT:g} s)")


if __name__ == "__main__":
    main()
