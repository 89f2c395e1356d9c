"""A contestant: the plain PyTorch loop over a `DataLoader` of decoded uint8 images, which collects the latents and saves them.

fp32, the default memory layout, `model.eval()` and `torch.no_grad()`; the measurement includes putting the latents together and
writing them, as facevae's does.
"""

from __future__ import annotations

import numpy as np
import torch
from contestant_plain import FacesInMemory
from numpy.typing import NDArray
from plain_network import VAE, parameters_of
from timing import Stopwatch, check_parameters, contestant_arguments, hand_back
from torch.utils.data import DataLoader


def encode(model: VAE, images: NDArray[np.uint8], batch: int, workers: int) -> None:
    """Encode all images and save the latents in the current folder."""
    loader = DataLoader(FacesInMemory(images), batch_size=batch, num_workers=workers)
    means, log_variances = [], []
    model.eval()
    with torch.no_grad():
        for faces in loader:
            mean, log_variance = model.encoder(faces)
            means.append(mean.numpy())
            log_variances.append(log_variance.numpy())
    np.savez("latents.npz", mean=np.concatenate(means), log_variance=np.concatenate(log_variances))


def main() -> None:
    """Warm up, measure, hand back."""
    arguments = contestant_arguments(
        "The plain PyTorch loop.", ("--workers", {"type": int, "default": 0, "help": "of the DataLoader"})
    )
    images = np.load(arguments.images)
    model = VAE()
    check_parameters(parameters_of(model))
    encode(model, images[: arguments.warmup * arguments.batch], arguments.batch, arguments.workers)
    watch = Stopwatch()
    watch.start()
    encode(model, images, arguments.batch, arguments.workers)
    watch.stop()
    hand_back(arguments.result, watch.figures(len(images), {"torch": torch.__version__}))


if __name__ == "__main__":
    main()
