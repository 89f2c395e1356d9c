"""How far images are from their originals: squared error, peak signal-to-noise ratio, structural similarity, edges.

Images are float32 tensors (B, 3, S, S) in [0, 1]; each function gives one figure for each image.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.image import structural_similarity_index_measure

from facevae.model.encoder import Images
from facevae.model.inference import to_tensor

SSIM_WINDOW, SSIM_SIGMA, SSIM_K1, SSIM_K2 = 11, 1.5, 0.01, 0.03
"""Those of Wang et al. 2004, *Image quality assessment: from error visibility to structural similarity*."""

_SSIM_BLOCK = 512
"""Images at a time: torchmetrics is several times faster with hundreds than with tens."""


def squared_errors(images: Tensor, others: Tensor) -> NDArray[np.float64]:
    """Return the mean squared error of each image over its pixels and channels (B)."""
    errors = (images - others).square().flatten(start_dim=1).mean(dim=1)
    return np.asarray(errors.cpu().numpy(), dtype=np.float64)


def peak_signal_to_noise(squared_error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 10 log10(1 / MSE) in dB of each image, whose largest value is 1; an image without any error has 100 dB."""
    return -10.0 * np.log10(np.maximum(squared_error, 1e-10))


@torch.inference_mode()
def structural_similarity(images: Images, others: Images) -> NDArray[np.float64]:
    """Return the SSIM of each pair of images (N, S, S, 3) uint8, averaged over positions and channels (N).

    A Gaussian window of 11 x 11 pixels, sigma 1.5, at the places where all of it is inside the image; K1 0.01, K2 0.03.
    """
    found = [np.empty(0)]
    for start in range(0, len(images), _SSIM_BLOCK):
        rows = slice(start, start + _SSIM_BLOCK)
        # In the order of memory that its convolutions are made for.
        one, other = (to_tensor(side[rows], torch.device("cpu")).contiguous() for side in (images, others))
        found.append(channel_similarity(one, other))
    return np.concatenate(found)


@torch.inference_mode()
def channel_similarity(images: Tensor, others: Tensor) -> NDArray[np.float64]:
    """Return the same SSIM of images (B, C, H, W), with any number of channels, averaged over positions and channels (B)."""
    _, places = structural_similarity_index_measure(
        images,
        others,
        sigma=SSIM_SIGMA,
        k1=SSIM_K1,
        k2=SSIM_K2,
        data_range=1.0,
        reduction="none",
        return_full_image=True,
    )
    # Whether its own mean takes in the border, where it mirrors the image, has changed with torchmetrics' versions.
    inside = slice(SSIM_WINDOW // 2, -(SSIM_WINDOW // 2))
    return np.asarray(places[..., inside, inside].double().mean(dim=(1, 2, 3)).numpy())


def gradient_magnitude(lumas: Tensor) -> Tensor:
    """Return the length of Sobel's gradient, per pixel, at the inner pixels of lumas (B, 1, H, W): (B, 1, H - 2, W - 2)."""
    smooth, slope = torch.tensor([1.0, 2.0, 1.0]) / 4.0, torch.tensor([-1.0, 0.0, 1.0]) / 2.0
    kernels = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)])[:, None].to(lumas)
    length: Tensor = torch.linalg.vector_norm(functional.conv2d(lumas, kernels), dim=1, keepdim=True)
    return length


def gradient_errors(lumas: Tensor, others: Tensor) -> NDArray[np.float64]:
    """Return the root mean squared difference between the gradient magnitudes of lumas (B, 1, H, W) in [0, 1], of each image."""
    return np.sqrt(squared_errors(gradient_magnitude(lumas), gradient_magnitude(others)))
