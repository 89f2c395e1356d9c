"""CPU seconds per image of `facevae prepare`, against torchvision and the decoder:  python benchmarks/prepare_cpu.py

All take the same JPEGs of CelebA's native size, 178 x 218. The rival is the plain idiom: `torchvision.datasets.ImageFolder`,
`v2.Resize((32, 32))`, and the batches of a `DataLoader` in one tensor. The limit is what no one can do without: Pillow's own
reader decoding the same bytes at the same reduced scale, without reading files, resizing, or keeping anything.

Every contestant is a process of its own, which warms up and then measures its whole loop: CPU seconds (user and system, all
threads and children) and wall seconds. They take turns over several rounds, and the median of each counts. The last lines are
the ratios.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from timing import interleaved, median_of, run_contestant
from train_cpu import cpu_milliseconds, print_table

from facevae.drawing import draw_face
from facevae.drawing.dataset import drawn_traits
from facevae.errors import FacevaeError
from facevae.storage.celeba import find_faces
from facevae.storage.jpeg import plain_size

AIM = 2.0
"""Fewer CPU seconds than torchvision by at least this factor."""
AIM_LIMIT = 1.2
"""As many CPU seconds as the decoder alone, up to this factor."""

_FRAME = (178, 218)
_QUALITY = 95
_DIFFERENT = 500


def read_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--celeba-dir", type=Path, help="take the images of native size in here; default: drawn faces")
    add(
        "--images",
        type=int,
        default=6000,
        help="for each contestant and round (default 6000); repeated where there are fewer",
    )
    add("--rounds", type=int, default=3)
    add("--jobs", type=int, help="cores of facevae, where its rivals take one; default: all")
    arguments = parser.parse_args()
    if min(arguments.images, arguments.rounds) < 1:
        parser.error("give at least one image and one round")
    return arguments


def pictures(celeba_dir: Path | None) -> list[bytes]:
    """Return JPEG files of native size: drawn ones, or the first ones of the user's."""
    if celeba_dir is None:
        return [_drawn(number) for number in range(1, _DIFFERENT + 1)]
    found: list[bytes] = []
    source = find_faces(celeba_dir, with_attributes=False)
    with source.open() as reader:
        for name in source.names:
            data = reader.read(name)
            if plain_size(data) == _FRAME:
                found.append(data)
            if len(found) == _DIFFERENT:
                break
    if not found:
        sys.exit(f"{source.location} holds no JPEG of {_FRAME[0]} x {_FRAME[1]} pixels.")
    return found


def _drawn(number: int) -> bytes:
    stream = io.BytesIO()
    draw_face(drawn_traits(0, number)).convert("RGB").resize(_FRAME).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


def write_images(directory: Path, celeba_dir: Path | None, count: int) -> tuple[Path, Path]:
    """Write the same images as files and into an archive, and return the folder of their folder, and the archive."""
    different = pictures(celeba_dir)
    folder, archive = directory / "folder", directory / "faces.zip"
    (folder / "faces").mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as zipped:
        for number in range(count):
            data = different[number % len(different)]
            (folder / "faces" / f"{number + 1:06}.jpg").write_bytes(data)
            zipped.writestr(f"faces/{number + 1:06}.jpg", data)
    size = sum(map(len, different)) / len(different) / 1024
    print(
        f"{count:,} JPEGs of {_FRAME[0]} x {_FRAME[1]}, {len(different)} of them different, {size:.1f} KiB on average"
    )
    return folder, archive


def contestants_of(folder: Path, archive: Path, jobs: int | None) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what measures each contestant once."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    run = partial(run_contestant, sys.executable, "contestant_prepare.py", environment=environment)
    options = ("--jobs", str(jobs)) if jobs else ()
    return {
        "facevae, archive": partial(run, archive, "facevae", *options),
        "facevae, folder": partial(run, folder, "facevae", *options),
        "torchvision": partial(run, folder, "torchvision"),
        "decoder": partial(run, folder, "decoder"),
        "bare decoder": partial(run, folder, "bare-decoder"),
    }


def print_ratios(results: dict[str, list[dict[str, Any]]]) -> None:
    """Print how many times fewer CPU seconds facevae takes than torchvision, and how many times those of the decoder."""
    costs = {name: median_of(figures, cpu_milliseconds) for name, figures in results.items()}
    for name in ("facevae, archive", "facevae, folder"):
        if name in costs and "torchvision" in costs:
            print(
                f"{name}: {costs['torchvision'] / costs[name]:.2f}x fewer than torchvision (wanted: at least {AIM:g})"
            )
    for name in ("facevae, archive", "facevae, folder"):
        if name in costs and "decoder" in costs:
            ratio, bare = (costs[name] / costs[limit] for limit in ("decoder", "bare decoder"))
            print(f"{name}: {ratio:.2f} of the decoder's time (aim: {AIM_LIMIT:g}), {bare:.2f} of the bare decoder's")


def main() -> None:
    """Measure and print."""
    arguments = read_arguments()
    with tempfile.TemporaryDirectory(prefix="facevae-benchmark-") as directory:
        try:
            folder, archive = write_images(Path(directory), arguments.celeba_dir, arguments.images)
        except FacevaeError as error:
            sys.exit(str(error))
        results = interleaved(contestants_of(folder, archive, arguments.jobs), arguments.rounds)
    if not results:
        sys.exit("No contestant could be measured.")
    print(f"{arguments.images:,} images a round, {arguments.rounds} rounds, medians")
    print_table(results)
    print_ratios(results)


if __name__ == "__main__":
    main()
