"""CPU seconds per image of `facevae encode`, against the plain loop and against the limit:  python benchmarks/encode_cpu.py

`facevae encode` is the whole way from `faces.h5` to `latents.h5`. The plain loop has its images in memory: a `DataLoader`, fp32,
the default layout, latents put together and saved. The limit is the encoder's own forward pass on ready batches, in the same
precision, at the best of several batch sizes, as PyTorch's modules and as facevae rearranges them.

Every contestant is a process of its own and measures CPU seconds (user and system, all threads and children). They take turns
over several rounds, and the median of each counts. The last lines are the ratios.
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
from train_cpu import cpu_milliseconds, print_table

from facevae.config import ModelConfig
from facevae.model.training import new_vae
from facevae.storage.weights import FaceModel

AIM = 2.0
"""Fewer CPU seconds than the plain loop by at least this factor."""
LIMIT_AIM = 1.2
"""At most so many times the encoder's own forward pass."""


def read_arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--faces", type=Path, help="a faces.h5 of 32 x 32 images, from facevae prepare; default: drawn faces")
    add("--images", type=int, default=40_000, help="images encoded by each contestant and round (default 40000)")
    add("--rounds", type=int, default=3)
    add("--precisions", default="fp32,bf16", help="of facevae and the limit (default fp32,bf16)")
    add("--plain-batch", type=int, default=500)
    add("--plain-workers", default="0,2", help="of the plain DataLoader; the cheapest counts (default 0,2)")
    add("--limit-batches", default="32,64", help="of the forward pass; the cheapest counts (default 32,64)")
    add("--threads", type=int, help="of every contestant; default: each one's own choice")
    arguments = parser.parse_args()
    if arguments.images < 1024 or min(arguments.plain_batch, arguments.rounds) < 1:
        parser.error("give at least 1024 images, a batch of one and one round")
    return arguments


def contestants_of(arguments: argparse.Namespace, directory: Path) -> dict[str, Callable[[], dict[str, Any]]]:
    """Write weights and images to `directory`, and return what measures each contestant once."""
    images = images_to_train_on(arguments.faces, arguments.images)
    array, faces, weights = directory / "images.npy", directory / "faces.h5", directory / "vae.safetensors"
    np.save(array, images)
    write_training_faces(faces, images)
    FaceModel(new_vae(ModelConfig(), seed=0)).save(weights)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    if arguments.threads:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(arguments.threads))
    run = partial(run_contestant, sys.executable, environment=environment)
    contestants: dict[str, Callable[[], dict[str, Any]]] = {}
    for workers in arguments.plain_workers.split(","):
        loop = ("contestant_encode_plain.py", array, "--batch", str(arguments.plain_batch), "--workers", workers)
        contestants[f"plain, {workers} workers"] = partial(run, *loop)
    for precision in arguments.precisions.split(","):
        script = ("contestant_encode.py", faces, "--weights", weights, "--precision", precision)
        contestants[f"facevae {precision}"] = partial(run, *script)
        for form in ("modules", "folded"):
            for batch in arguments.limit_batches.split(","):
                limit = partial(run, *script, "--what", form, "--batch", batch)
                contestants[f"limit {precision} {form} {batch}"] = limit
    return contestants


def cheapest(costs: dict[str, float], beginning: str) -> str | None:
    """Return the contestant with the least cost among those whose names begin so."""
    return min((name for name in costs if name.startswith(beginning)), key=lambda name: costs[name], default=None)


def print_ratios(results: dict[str, list[dict[str, Any]]], precisions: list[str]) -> None:
    """Print how facevae stands against the cheapest plain loop and against its limits."""
    costs = {name: median_of(figures, cpu_milliseconds) for name, figures in results.items()}
    plain = cheapest(costs, "plain")
    print(f"CPU seconds per image (wanted: {AIM:g} times fewer than the plain loop, {LIMIT_AIM:g} times the limit):")
    for precision in precisions:
        cost = costs.get(f"facevae {precision}")
        if cost is None:
            continue
        parts = [f"{costs[plain] / cost:.2f}x fewer than {plain}"] if plain else []
        for form in ("modules", "folded"):
            limit = cheapest(costs, f"limit {precision} {form}")
            parts += [f"{cost / costs[limit]:.2f}x the forward pass ({limit.removeprefix('limit ')})"] if limit else []
        print(f"  facevae {precision}: {', '.join(parts)}")


def main() -> None:
    """Measure and print."""
    arguments = read_arguments()
    results = measure(partial(contestants_of, arguments), arguments.rounds)
    print(f"{arguments.images:,} images a round, {arguments.rounds} rounds, medians")
    print_table(results)
    print_ratios(results, arguments.precisions.split(","))


if __name__ == "__main__":
    main()
