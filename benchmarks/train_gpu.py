"""The whole reference run on a GPU, start-up included:  python benchmarks/train_gpu.py

Writes a `faces.h5` of CelebA's size and, from an empty directory, runs

    facevae train --recipe note --faces FACES --device cuda --epochs 10 --split all

as a process, timed from its start to its end: importing torch, loading, ten rounds of 202,599 images at batch 500, ten
validations, the files and the attribute directions. Beside it stand

- the memory-traffic floor of the training steps: the bytes that they must move (`traffic_bytes`) at the speed at which this
  GPU copies;
- the plain PyTorch idiom on the same GPU, over some hundred steps, extrapolated to the ten rounds.

The last lines are the ratios. Without a CUDA GPU it says so and ends.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from drawn_faces import CELEBA_COUNT, draw, write_full_size
from timing import NotMeasuredError, facevae_command, last_line, run_contestant

EPOCHS = 10
LIMIT, AIM = 15.0, 10.0
"""Seconds for the whole run."""

BLOCKS = [
    # (values of one image that go in, values that come out) of each block of convolution, batch norm and leaky ReLU
    (3 * 32 * 32, 128 * 16 * 16),
    (128 * 16 * 16, 128 * 8 * 8),
    (128 * 8 * 8, 128 * 4 * 4),
    (128 * 4 * 4, 128 * 2 * 2),
    (200, 128 * 2 * 2),
    (128 * 2 * 2, 128 * 4 * 4),
    (128 * 4 * 4, 128 * 8 * 8),
    (128 * 8 * 8, 128 * 16 * 16),
    (128 * 16 * 16, 128 * 32 * 32),
]
LAST = (128 * 32 * 32, 3 * 32 * 32)
"""The last transposed convolution, which has no batch norm."""


def traffic_bytes(*, fused: bool, value_bytes: int = 2) -> int:
    """Return the bytes that the training step of one image reads and writes, in bf16 by default.

    Every operation reads its inputs once and writes its outputs once; weights are negligible (2.7 MB a step beside 3 GB). A
    block takes m values to n. One pass for each operation:

        forward    convolution m + n;  batch statistics n;  normalise and activate 2n
        backward   sums of batch norm 2n (gradient, output of the convolution);  its gradient 3n;
                   gradient of the inputs n + m;  gradient of the weights n + m
        all        11n + 3m

    `fused`: statistics and sums come out of the convolution that makes the values; normalisation and activation, forward and
    backward, go into the convolutions that read them; so that only the convolutions' outputs and the gradients of their inputs
    are stored:

        forward    convolution m + n
        backward   sums n;  gradient of the inputs 2n + m;  gradient of the weights 2n + m
        all        6n + 3m

    The last convolution has m + n forward (sigmoid and loss fused with it read and write n more, and so do their gradients) and
    2(n + m) backward. The latents and the two linear heads, 600 values, are left out.
    """
    values = sum((6 if fused else 11) * after + 3 * before for before, after in BLOCKS)
    before, after = LAST
    values += 3 * (before + after) + 4 * after
    return values * value_bytes


def copy_bandwidth() -> float:
    """Return how many bytes a second this GPU moves in a copy of 1 GiB (reads and writes counted), the best of twenty."""
    import torch

    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    seconds: list[float] = []
    for _ in range(20):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        start.record()
        target.copy_(source)
        end.record()
        torch.cuda.synchronize()
        seconds.append(start.elapsed_time(end) / 1000)
    return 2 * source.numel() / min(seconds)


def time_whole_run(faces: Path) -> float:
    """Return the seconds of the whole command in an empty directory.

    Raises:
        NotMeasuredError: it failed.
    """
    with tempfile.TemporaryDirectory(prefix="facevae-benchmark-") as directory:
        command = facevae_command(
            "train", "--recipe", "note", "--faces", faces, "--device", "cuda", "--epochs", str(EPOCHS), "--split", "all"
        )
        start = time.perf_counter()
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
        seconds = time.perf_counter() - start
    if done.returncode:
        raise NotMeasuredError(last_line(done.stderr) or f"facevae train ended with code {done.returncode}.")
    return seconds


def measure_plain(directory: Path, steps: int, workers: list[str]) -> dict[str, Any] | None:
    """Return the figures of the plain idiom with the number of loader processes that is fastest; None if none worked."""
    warmup, batch = 20, 500
    images = draw()[0]
    array = directory / "images.npy"
    np.save(array, images[np.arange((warmup + steps) * batch) % len(images)])
    measured: list[dict[str, Any]] = []
    for count in workers:
        options = ("--batch", str(batch), "--warmup", str(warmup), "--device", "cuda", "--workers", count)
        try:
            figures = run_contestant(
                sys.executable, "contestant_plain.py", array, *options, environment=dict(os.environ)
            )
        except NotMeasuredError as reason:
            print(f"The plain idiom with {count} workers is not measured: {reason}", file=sys.stderr)
            continue
        measured.append({**figures, "workers": count})
        print(f"plain idiom, {count} workers: {figures['images'] / figures['wall_seconds']:,.0f} images/s")
    return min(measured, key=lambda one: float(one["wall_seconds"]), default=None)


def find_gpu() -> str:
    """Return the name of the GPU, or end with a sentence."""
    try:
        import torch
    except ImportError:
        sys.exit(f"{sys.executable} cannot import torch.")
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no CUDA GPU on this machine: run this on one, such as an H100 or H200.")
    return f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faces", type=Path, help="a faces.h5; default: drawn faces, as many as CelebA has")
    parser.add_argument("--runs", type=int, default=3, help="of the whole command (default 3)")
    parser.add_argument("--plain-steps", type=int, default=200, help="measured steps of the plain idiom (default 200)")
    parser.add_argument("--plain-workers", default="0,8", help="of its DataLoader; the fastest counts (default 0,8)")
    arguments = parser.parse_args()
    print(find_gpu())
    with tempfile.TemporaryDirectory(prefix="facevae-benchmark-") as name:
        directory = Path(name)
        faces = arguments.faces.resolve() if arguments.faces else write_full_size(directory / "faces.h5")
        whole: list[float] = []
        try:
            for number in range(1, arguments.runs + 1):
                whole.append(time_whole_run(faces))
                print(f"whole run {number}: {whole[-1]:.1f} s")
        except NotMeasuredError as reason:
            sys.exit(f"facevae train failed: {reason}")
        plain = measure_plain(directory, arguments.plain_steps, arguments.plain_workers.split(","))
    _print(statistics.median(whole), plain)


def _print(seconds: float, plain: dict[str, Any] | None) -> None:
    images = EPOCHS * CELEBA_COUNT
    bandwidth = copy_bandwidth()
    print(f"this GPU copies at {bandwidth / 1e12:.2f} TB/s")
    floors = {}
    for name, fused in (("an operation a pass", False), ("all fused into the convolutions", True)):
        total = traffic_bytes(fused=fused) * images
        floors[name] = total / bandwidth
        print(f"memory-traffic floor, {name}: {total / 1e12:.1f} TB, {floors[name]:.1f} s")
    if plain is not None:
        extrapolated = images * float(plain["wall_seconds"]) / int(plain["images"])
        print(
            f"plain idiom, {plain['workers']} workers: {extrapolated:.0f} s, extrapolated from {plain['images']:,} images"
        )
        print(f"facevae against the plain idiom: {extrapolated / seconds:.1f}x faster")
    for name, floor in floors.items():
        print(f"facevae against the floor ({name}): {seconds / floor:.1f}x")
    print(f"whole run of {EPOCHS} x {CELEBA_COUNT:,} images: {seconds:.1f} s (limit {LIMIT:g} s, aim {AIM:g} s)")


if __name__ == "__main__":
    main()
