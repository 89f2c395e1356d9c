"""CPU seconds per image of `facevae train` against three rivals, in one run:  python benchmarks/train_cpu.py

The rivals are (a) the plain PyTorch idiom, (b) pythae's own trainer, (c) Keras by the reference notebook's code path, each on
the same network, loss, batch size and images; benchmarks/README.md says how to install (b) and (c).

Every contestant is a process of its own, which warms up for a few steps and then measures its whole loop: CPU seconds (user and
system, all threads and children) and wall seconds. They take turns over several rounds, and the median of each counts, so that
the noise of a shared machine hits them all alike. The last lines are the ratios.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from drawn_faces import images_to_train_on, write_training_faces
from timing import measure, median_of, run_contestant

RIVALS = ("plain", "pythae", "keras")
AIM = 2.0
"""Fewer CPU seconds than each rival by at least this factor."""


def read_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--faces", type=Path, help="a faces.h5 of 32 x 32 images, from facevae prepare; default: drawn faces")
    add("--images", type=int, default=4000, help="images measured for each contestant and round (default 4000)")
    add("--batch", type=int, default=500)
    add("--warmup", type=int, default=2, help="steps before the measurement (default 2)")
    add("--rounds", type=int, default=3)
    add("--rivals", default=",".join(RIVALS), help="some of plain,pythae,keras; empty for none")
    add("--precisions", default="auto,fp32", help="of facevae (default auto,fp32)")
    add("--plain-workers", default="0,2", help="of the plain DataLoader; the fastest counts (default 0,2)")
    add("--pythae-python", default=sys.executable, metavar="PYTHON", help="the Python that has pythae")
    add("--keras-python", default=sys.executable, metavar="PYTHON", help="the Python that has TensorFlow and Keras")
    add("--threads", type=int, help="of every contestant; default: each one's own choice")
    arguments = parser.parse_args()
    arguments.rivals = [name for name in arguments.rivals.split(",") if name]
    unknown = [name for name in arguments.rivals if name not in RIVALS]
    if unknown:
        parser.error(f"there is no rival {unknown[0]}: choose from {', '.join(RIVALS)}")
    if arguments.images < arguments.batch or min(arguments.batch, arguments.warmup, arguments.rounds) < 1:
        parser.error("give at least one batch of images, one step of warm-up and one round")
    return arguments


def contestants_of(arguments: argparse.Namespace, directory: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """Write the images for all contestants to `directory`, and return what measures each of them once."""
    steps = arguments.warmup + arguments.images // arguments.batch
    images = images_to_train_on(arguments.faces, steps * arguments.batch)
    array, faces = directory / "images.npy", directory / "faces.h5"
    np.save(array, images)
    write_training_faces(faces, images)
    shared = ("--batch", str(arguments.batch), "--warmup", str(arguments.warmup))
    run = partial(run_contestant, environment=_environment(arguments.threads))
    here = sys.executable
    contestants: dict[str, Callable[[], dict[str, Any]]] = {}
    for precision in arguments.precisions.split(","):
        script = (here, "contestant_facevae.py", faces, *shared, "--precision", precision)
        contestants[f"facevae {precision}"] = partial(run, *script)
    if "plain" in arguments.rivals:
        for workers in arguments.plain_workers.split(","):
            script = (here, "contestant_plain.py", array, *shared, "--workers", workers)
            contestants[f"plain, {workers} workers"] = partial(run, *script)
    for name, python in (("pythae", arguments.pythae_python), ("keras", arguments.keras_python)):
        if name in arguments.rivals:
            contestants[name] = partial(run, python, f"contestant_{name}.py", array, *shared)
    return contestants


def _environment(threads: int | None) -> dict[str, str]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    if threads:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            environment[name] = str(threads)
    return environment


def cpu_milliseconds(figures: dict[str, Any]) -> float:
    """Return CPU milliseconds per image."""
    return 1000 * float(figures["cpu_seconds"]) / int(figures["images"])


def print_table(results: dict[str, list[dict[str, Any]]]) -> None:
    """Print each contestant's medians and spread."""
    print(f"{'contestant':<20}{'CPU ms/image':>14}{'lowest':>9}{'highest':>9}{'images/s':>10}  versions")
    for name, figures in results.items():
        each = [cpu_milliseconds(one) for one in figures]
        speed = median_of(figures, lambda one: one["images"] / one["wall_seconds"])
        versions = ", ".join(f"{package} {number}" for package, number in figures[0]["versions"].items())
        middle = median_of(figures, cpu_milliseconds)
        print(f"{name:<20}{middle:>14.2f}{min(each):>9.2f}{max(each):>9.2f}{speed:>10.0f}  {versions}")


def print_ratios(results: dict[str, list[dict[str, Any]]]) -> None:
    """Print how many times fewer CPU seconds facevae takes than each rival; of the plain loaders the cheaper one counts."""
    costs = {name: median_of(figures, cpu_milliseconds) for name, figures in results.items()}
    plain = {name: cost for name, cost in costs.items() if name.startswith("plain")}
    slower = set(plain) - {min(plain, key=lambda name: plain[name])} if plain else set()
    rivals = {name: cost for name, cost in costs.items() if not name.startswith("facevae") and name not in slower}
    print(f"CPU seconds per image, times fewer than each rival (wanted: at least {AIM:g}):")
    for name, cost in costs.items():
        if name.startswith("facevae"):
            ratios = ", ".join(f"{other / cost:.2f}x ({rival})" for rival, other in rivals.items())
            print(f"  {name}: {ratios or 'no rival was measured'}")


def main() -> None:
    """Measure and print."""
    arguments = read_arguments()
    results = measure(partial(contestants_of, arguments), arguments.rounds)
    per_round = arguments.images // arguments.batch * arguments.batch
    print(f"batch {arguments.batch}, {per_round:,} images a round, {arguments.rounds} rounds, medians")
    print_table(results)
    print_ratios(results)


if __name__ == "__main__":
    main()
