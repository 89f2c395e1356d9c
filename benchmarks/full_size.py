"""CelebA's full size through prepare, encode and umap, with time, images/s and peak memory:  python benchmarks/full_size.py

Builds 202,599 JPEGs of 178 x 218 pixels that all differ (drawn, or your own repeated), then runs the commands as a user would,
each as a process of its own in one folder. Before `encode` it trains a network of the reference's size for a moment on some
of the faces, untimed: what is in the weights does not change what encoding costs.

The peak is the highest resident set that the kernel counted for the process (VmHWM, read while it runs), and that of its child
processes where it has any. Where there is no /proc it is ru_maxrss.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from drawn_faces import CELEBA_COUNT
from spliced_faces import BYTES_A_FILE, drawn_parts, repeated_faces, spliced, write_celeba
from timing import facevae_command

_DRAWN = 300
_TRAINED_ON = 4000
_POLL_SECONDS = 0.05
_BYTES_A_FACE = BYTES_A_FILE + 400 + 2 * 3 * 32 * 32 + 100 + 2 * 2 * 200 * 4 + 200 * 4 + 100
"""At most, on the disk: JPEG and entries; the image in faces.h5 and in what prepare would resume from; its latents twice, for
standard output goes through a file; and the latents in the map."""


class Cost(NamedTuple):
    """What a command took: wall and CPU seconds, and bytes of peak memory, of itself and of its children."""

    seconds: float
    cpu_seconds: float
    peak: int
    children_peak: int


def main() -> None:
    """Build, run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=CELEBA_COUNT, help=f"how many (default {CELEBA_COUNT})")
    parser.add_argument("--dir", type=Path, help="folder to work in, kept afterwards (default: a temporary one)")
    parser.add_argument("--celeba-dir", type=Path, help="repeat the JPEGs of this folder or zip instead of drawing")
    parser.add_argument("--max-points", type=int, help="of umap (default: all)")
    arguments = parser.parse_args()
    if arguments.images < 100:
        sys.exit("Take at least 100 images.")
    if arguments.dir is not None:
        arguments.dir.mkdir(parents=True, exist_ok=True)
        rehearse(arguments, arguments.dir)
    else:
        with tempfile.TemporaryDirectory(prefix="facevae-benchmark-") as name:
            rehearse(arguments, Path(name))


def rehearse(arguments: argparse.Namespace, folder: Path) -> None:
    """Build the faces in `folder`, run the stages there, and print a line for each."""
    count = arguments.images
    needed = count * _BYTES_A_FACE + 200_000_000
    free = shutil.disk_usage(folder).free
    print(f"{count:,} images take up to {needed / 1e9:.1f} GB in {folder} ({free / 1e9:.0f} GB are free).", flush=True)
    if needed > free:
        sys.exit("That is not enough: name a folder on another disk with --dir, or take fewer --images.")
    began = time.monotonic()
    size = build(folder / "data", count, arguments.celeba_dir)
    seconds = time.monotonic() - began
    print(f"built in {seconds:.0f} s: {size / 1e6:,.0f} MB of JPEG, {size / count:,.0f} bytes a file", flush=True)
    print(f"\n{'stage':<10}{'seconds':>10}{'images/s':>10}{'CPU s':>10}{'peak MB':>10}{'children':>10}", flush=True)
    run_stage("prepare", ["prepare", "--celeba-dir", "data"], folder, count)
    train_for_a_moment(folder, count)
    run_stage("encode", ["encode"], folder, count, standard_output="latents.h5")
    points = min(count, arguments.max_points or count)
    choice = ["--max-points", str(points)] if points < count else []
    run_stage("umap", ["umap", "--coordinates", "map.h5", *choice], folder, points)


def build(folder: Path, count: int, own: Path | None) -> int:
    """Write the faces in CelebA's layout; return the bytes of the zip."""
    if own is not None:
        return write_celeba(folder, count, repeated_faces(own))
    parts = drawn_parts(min(count, _DRAWN))
    return write_celeba(folder, count, lambda number: spliced(parts, number))


def train_for_a_moment(folder: Path, count: int) -> None:
    """Train a network of the reference's size on some of the faces for two epochs, so that there are weights."""
    limit = ["--limit", str(_TRAINED_ON)] if count > _TRAINED_ON else []
    run(["prepare", "--celeba-dir", "data", *limit, "-o", "some.h5", "--quiet"], folder)
    run(["train", "--recipe", "note", "--faces", "some.h5", "--epochs", "2", "--quiet"], folder)


def run_stage(name: str, arguments: list[str], folder: Path, count: int, *, standard_output: str = "") -> None:
    """Run a command and print what it took."""
    cost = run(arguments, folder, standard_output=standard_output)
    children = f"{cost.children_peak / 1e6:,.0f}" if cost.children_peak else "-"
    print(
        f"{name:<10}{cost.seconds:>10.1f}{count / cost.seconds:>10,.0f}{cost.cpu_seconds:>10.1f}"
        f"{cost.peak / 1e6:>10,.0f}{children:>10}",
        flush=True,
    )


def run(arguments: list[str], folder: Path, *, standard_output: str = "") -> Cost:
    """Run `facevae ARGUMENTS` in `folder`, its standard output into a file there; return what it took, or end the program."""
    began = time.monotonic()
    with (folder / (standard_output or "stdout.txt")).open("wb") as output:
        process = subprocess.Popen(facevae_command(*arguments), cwd=folder, stdout=output)
        peaks: dict[int, int] = {}
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            for number in family(process.pid):
                # The last figure counts: before it becomes facevae, the process is a copy of this one.
                peaks[number] = peak_of(number) or peaks.get(number, 0)
            time.sleep(_POLL_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"facevae {' '.join(arguments)} ended with code {process.returncode}.")
    own = peaks.pop(process.pid, 0) or usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, own, sum(peaks.values()))


def family(process: int) -> list[int]:
    """Return a process and all its descendants that live."""
    found = [process]
    with suppress(OSError, ValueError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            for child in (thread / "children").read_text().split():
                found += family(int(child))
    return found


def peak_of(process: int) -> int:
    """Return the bytes of a process's highest resident set so far; 0 where that cannot be read."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    return 0


if __name__ == "__main__":
    main()
