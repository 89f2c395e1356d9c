"""A contestant: `facevae.train` itself, the function behind the command, with everything it does between two steps.

The stopwatch starts at the first report of progress after the warm-up and stops at the last report, which comes before
the epoch's validation and files: as with the rivals, start-up and the end are left out, and recording and reporting losses
are not.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from timing import Stopwatch, contestant_arguments, hand_back

import facevae
from facevae.errors import FacevaeError
from facevae.progress import Event, Progress


class Timer:
    """The `report` of the training."""

    def __init__(self, warmup: int) -> None:
        self.watch, self.warmup = Stopwatch(), warmup
        self.first = self.last = 0
        self.loss = float("nan")

    def __call__(self, event: Event) -> None:
        """Note the time of each report of training steps."""
        if not isinstance(event, Progress) or event.stage != "train":
            return
        if self.first:
            self.watch.stop()
            self.last, self.loss = event.done, event.values["loss"]
        elif event.done >= self.warmup:
            self.watch.start()
            self.first = event.done

    def steps(self) -> int:
        """Return how many steps were measured."""
        if self.last <= self.first:
            sys.exit("facevae reported no step after the warm-up: give it more images.")
        return self.last - self.first


def main() -> None:
    """Train one epoch and hand back what came after the warm-up."""
    arguments = contestant_arguments("facevae.", ("--precision", {"default": "auto"}), ("--device", {"default": "cpu"}))
    timer = Timer(arguments.warmup)
    options: dict[str, Any] = {} if arguments.precision == "auto" else {"precision": arguments.precision}
    try:
        facevae.train(
            arguments.images,
            Path.cwd() / "vae.safetensors",
            recipe="note",
            epochs=1,
            batch_size=arguments.batch,
            split="train",
            device=arguments.device,
            report=timer,
            **options,
        )
    except FacevaeError as error:
        sys.exit(str(error))
    # Every batch is full: the parent makes a whole number of them.
    images = timer.steps() * arguments.batch
    versions = {"facevae": facevae.__version__, "torch": torch.__version__}
    hand_back(arguments.result, {**timer.watch.figures(images, versions), "loss": timer.loss})


if __name__ == "__main__":
    main()
