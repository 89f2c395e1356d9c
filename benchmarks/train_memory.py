"""Peak memory of training on a full-size file, above importing torch:  python benchmarks/train_memory.py

Writes a `faces.h5` of 202,599 faces, trains on all of them with `facevae train --device cpu` until it has printed a few
lines of progress (some dozen steps), and stops it as a user would, with Ctrl-C. So loading, training, saving, the loss plot and
the attribute directions of part of the images are all in the peak; a second Ctrl-C, some seconds later, cuts the
directions short.

The peak is the highest resident set that the system counted for the process, against that of a Python that imports torch and
nothing else.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from drawn_faces import CELEBA_COUNT
from timing import NotMeasuredError, facevae_command, last_line

LIMIT = 1.2e9
"""Bytes above importing torch."""
_DIRECTIONS_SECONDS = 10.0
_BYTES = 1 if sys.platform == "darwin" else 1024
"""The unit of ru_maxrss, which is kilobytes everywhere but on macOS."""


def peak_of(process: subprocess.Popen[str]) -> tuple[int, int]:
    """Wait for a child and return (its exit code, the bytes of its peak resident set)."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss * _BYTES


def peak_of_torch() -> int:
    """Return the peak of a Python that imports torch."""
    code, peak = peak_of(subprocess.Popen([sys.executable, "-c", "import torch"], text=True))
    if code:
        raise NotMeasuredError(f"{sys.executable} cannot import torch.")
    return peak


def peak_of_training(faces: Path, directory: Path, precision: str, lines: int) -> tuple[int, str]:
    """Return the peak of a training that was stopped after `lines` lines of progress, and the last of them.

    Raises:
        NotMeasuredError: it ended by itself before.
    """
    arguments: list[str | Path] = [
        "train",
        "--recipe",
        "note",
        "--faces",
        faces,
        "--output",
        directory / "vae.safetensors",
        "--device",
        "cpu",
        "--split",
        "all",
    ]
    if precision != "auto":
        arguments += ["--precision", precision]
    process = subprocess.Popen(
        facevae_command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=directory, text=True
    )
    assert process.stderr is not None
    printed: list[str] = []
    seen = 0
    # Not Popen.send_signal, which collects a child that has ended, and its memory figures with it.
    second = threading.Timer(_DIRECTIONS_SECONDS, os.kill, (process.pid, signal.SIGINT))
    second.daemon = True
    try:
        for line in process.stderr:
            printed.append(line.rstrip())
            if line.startswith("train:"):
                seen += 1
                if seen == lines:
                    os.kill(process.pid, signal.SIGINT)
                    second.start()
    except BaseException:
        process.kill()
        raise
    second.cancel()
    code, peak = peak_of(process)
    if seen < lines:
        raise NotMeasuredError(last_line("\n".join(printed)) or f"facevae train ended with code {code}.")
    return peak, next(line for line in reversed(printed) if line.startswith("train:"))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=CELEBA_COUNT, help=f"in the file (default {CELEBA_COUNT})")
    parser.add_argument("--lines", type=int, default=2, help="lines of progress, ten seconds or more apart (default 2)")
    parser.add_argument("--precisions", default="auto,fp32", help="of facevae (default auto,fp32)")
    arguments = parser.parse_args()
    if not hasattr(os, "wait4"):
        sys.exit("This system does not tell the peak memory of a process: measure on Linux or macOS.")
    verdicts: list[str] = []
    with tempfile.TemporaryDirectory(prefix="facevae-benchmark-") as name:
        directory = Path(name)
        # In another process: on Linux a child's peak starts from what its parent had in memory.
        _write_elsewhere(directory / "faces.h5", arguments.images)
        try:
            torch_peak = peak_of_torch()
        except NotMeasuredError as reason:
            sys.exit(str(reason))
        print(f"importing torch: {torch_peak / 1e6:,.0f} MB")
        for precision in arguments.precisions.split(","):
            try:
                peak, line = peak_of_training(directory / "faces.h5", directory, precision, arguments.lines)
            except NotMeasuredError as reason:
                print(f"facevae {precision} is not measured: {reason}", file=sys.stderr)
                continue
            print(f"training on {arguments.images:,} images, {precision}: {peak / 1e6:,.0f} MB ({line})")
            above = peak - torch_peak
            met = "within" if above <= LIMIT else "OVER"
            verdicts.append(f"above importing torch, {precision}: {above / 1e9:.2f} GB ({met} {LIMIT / 1e9:g} GB)")
    print("\n".join(verdicts) or "No training could be measured.")


def _write_elsewhere(path: Path, count: int) -> None:
    code = f"from pathlib import Path; import drawn_faces; drawn_faces.write_full_size(Path({str(path)!r}), {count})"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True)


if __name__ == "__main__":
    main()
