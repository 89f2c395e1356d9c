"""Latents through the decoder, held against the images they should give."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from facevae.metrics.images import squared_errors
from facevae.model.encoder import Floats, Images
from facevae.model.inference import each_batch, to_images, to_tensor
from facevae.model.vae import VAE


class Reconstructions(NamedTuple):
    """`images` (N, S, S, 3) uint8, and `squared_errors` (N) of the decoder's images before they were rounded to these."""

    images: Images
    squared_errors: NDArray[np.float64]


@torch.inference_mode()
def reconstruct_latents(vae: VAE, latents: Floats, originals: Images) -> Reconstructions:
    """Return what `vae` decodes from latents (N, latent_dim), beside the originals (N, S, S, 3) uint8."""
    vae.eval()

    def decode(rows: slice) -> Reconstructions:
        decoded = vae.decode(torch.from_numpy(latents[rows]).to(vae.device))
        errors = squared_errors(to_tensor(originals[rows], vae.device), decoded)
        return Reconstructions(to_images(decoded), errors)

    images, errors = zip(*each_batch(decode, len(latents), vae.device), strict=True)
    return Reconstructions(np.concatenate(images), np.concatenate(errors))
