"""A contestant: facevae's encoding, the loop from `faces.h5` to `latents.h5`, or the encoder's forward pass alone.

`facevae` is `facevae.encode`, the function behind the command, with reading, writing and its start (loading the weights,
opening the files), in a process that has encoded a few images before. The others are the limit: batches that are ready in
memory as floats, in the layout that suits the network, through the encoder, and nothing kept; each thread with batches of its
own, as facevae does it. The form of the encoder is that of the network's modules, or facevae's, with the normalisations folded
into the convolutions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from drawn_faces import write_training_faces
from timing import Stopwatch, contestant_arguments, hand_back
from torch import Tensor

import facevae
from facevae.errors import FacevaeError
from facevae.model.encoder import FoldedEncoder
from facevae.model.inference import to_tensor
from facevae.model.precision import resolve_precision
from facevae.model.workers import Workers
from facevae.storage.faces import Faces

_READY_IMAGES = 1024
"""As many ready batches take turns, so that they come from memory rather than from the cache, as fresh ones do."""
_CPU = torch.device("cpu")


def forward_of(model: facevae.FaceModel, form: str, dtype: torch.dtype) -> Callable[[Tensor], Any]:
    """Return the encoder as modules, or folded."""
    if form == "folded":
        return FoldedEncoder(model.vae, dtype).forward
    encoder = model.vae.encoder.to(dtype)
    return encoder.__call__


def time_forward(model: facevae.FaceModel, faces: Path, count: int, batch: int, form: str, precision: str) -> Stopwatch:
    """Encode `count` images out of ready batches."""
    dtype = resolve_precision(precision, _CPU).dtype
    with Faces(faces) as opened:
        images = opened.read(0, min(opened.count, _READY_IMAGES))
    floats = to_tensor(images, _CPU).to(dtype)
    starts = range(0, len(floats) - batch + 1, batch)
    ready = [floats[start : start + batch].contiguous(memory_format=torch.channels_last) for start in starts]
    forward, workers, watch = forward_of(model, form, dtype), Workers(), Stopwatch()
    batches = [ready[number % len(ready)] for number in range(count // batch)]

    def run(one: Tensor) -> None:
        forward(one)

    with torch.inference_mode(), workers.alone():
        list(workers.each(run, batches[: 2 * workers.count]))
        watch.start()
        list(workers.each(run, batches))
        watch.stop()
    return watch


def time_command(weights: Path, faces: Path, precision: str) -> Stopwatch:
    """Encode all of `faces`, after a few of them as a warm-up."""
    with Faces(faces) as opened:
        few = write_training_faces(Path("few.h5"), opened.read(0, _READY_IMAGES))
    watch = Stopwatch()
    for path in (few, faces):
        watch.start()
        facevae.encode(output="latents.h5", faces=path, weights=weights, precision=precision, device="cpu")
        watch.stop()
    return watch


def main() -> None:
    """Measure and hand back."""
    arguments = contestant_arguments(
        "facevae's encoding.",
        ("--weights", {"type": Path, "required": True}),
        ("--what", {"default": "facevae", "choices": ["facevae", "modules", "folded"]}),
        ("--precision", {"default": "fp32"}),
    )
    with Faces(arguments.images) as faces:
        count = faces.count
    try:
        if arguments.what == "facevae":
            watch = time_command(arguments.weights, arguments.images, arguments.precision)
        else:
            model = facevae.FaceModel.load(arguments.weights)
            count = count // arguments.batch * arguments.batch
            watch = time_forward(model, arguments.images, count, arguments.batch, arguments.what, arguments.precision)
    except FacevaeError as error:
        sys.exit(str(error))
    hand_back(arguments.result, watch.figures(count, {"facevae": facevae.__version__, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
