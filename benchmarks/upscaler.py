"""How much nearer to the original the upscalers come than bicubic enlargement:  python benchmarks/upscaler.py faces-96.h5

On the faces that `train-upscaler` holds out, two tables for docs/upscaler.md: photographs reduced and enlarged again, and what
the VAE makes of them at 32 pixels, enlarged. With --small faces.h5, which holds the same images by name and in the same order at
32 pixels, these are enlarged too: they were reduced by `prepare`, from the files themselves. Precision as in `upscale`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facevae.config import UPSCALE_FACTOR, UPSCALE_FACTORS
from facevae.metrics.estimate import mean_estimate
from facevae.metrics.images import (
    channel_similarity,
    gradient_errors,
    gradient_magnitude,
    peak_signal_to_noise,
    squared_errors,
)
from facevae.model.precision import resolve_precision
from facevae.model.upscaler_training import Pairs, PhotographPairs, ReconstructionPairs
from facevae.model.vdsr import VDSR
from facevae.progress import Event, Notice, silent
from facevae.storage.faces import Faces
from facevae.workflows.common import load_model
from facevae.workflows.upscaler_data import reconstructed, split_rows
from facevae.workflows.upscalers import load_upscaler

_BLOCK = 16
Networks = dict[str, VDSR | None]
"""By name; None is the bicubic enlargement alone."""


def tell(event: Event) -> None:
    """Print notices."""
    if isinstance(event, Notice):
        print(event.text, flush=True)


def outputs(pairs: Pairs, factor: int, turn: int, networks: Networks) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Yield what each network makes of some of the images, and what they should have been: lumas (B, 1, H, W) in [0, 1]."""
    dtype = resolve_precision("auto", torch.device("cpu")).dtype
    for start in range(0, pairs.count, _BLOCK):
        rows = torch.arange(start, min(start + _BLOCK, pairs.count))
        enlarged, wanted = pairs.pair(rows, factor, turn, torch.device("cpu"))
        made = {}
        for name, network in networks.items():
            with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                image = enlarged if network is None else enlarged + network(enlarged).float()
            made[name] = image.clamp(0.0, 1.0)
        yield made, wanted


def measured(pairs: Pairs, factor: int, turn: int, networks: Networks) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return the figures of each network, one for each image."""
    found: dict[str, list[dict[str, NDArray[np.float64]]]] = {name: [] for name in networks}
    for made, wanted in outputs(pairs, factor, turn, networks):
        sharpness = gradient_magnitude(wanted).mean(dim=(1, 2, 3)).double().numpy()
        for name, image in made.items():
            found[name].append(
                {
                    "psnr": peak_signal_to_noise(squared_errors(image, wanted)),
                    "ssim": channel_similarity(image, wanted),
                    "edges": gradient_errors(image, wanted),
                    "sharpness": gradient_magnitude(image).mean(dim=(1, 2, 3)).double().numpy() / sharpness,
                }
            )
    return {
        name: {figure: np.concatenate([part[figure] for part in parts]) for figure in parts[0]}
        for name, parts in found.items()
    }


def cell(values: NDArray[np.float64], digits: int) -> str:
    """Return a mean with its standard error."""
    value, error = mean_estimate(values)
    return f"{value:.{digits}f}" if error is None else f"{value:.{digits}f} ± {error:.{digits}f}"


def print_photographs(title: str, pairs: Pairs, factor: int, turn: int, network: VDSR) -> None:
    """Print the rows of the first table."""
    found = measured(pairs, factor, turn, {"bicubic": None, "VDSR": network})
    bicubic, vdsr = found["bicubic"], found["VDSR"]
    cells = [
        title,
        cell(bicubic["psnr"], 2),
        cell(vdsr["psnr"], 2),
        cell(vdsr["psnr"] - bicubic["psnr"], 2),
        cell(bicubic["ssim"], 3),
        cell(vdsr["ssim"], 3),
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


def print_reconstructions(pairs: Pairs, networks: Networks) -> None:
    """Print the second table."""
    found = measured(pairs, UPSCALE_FACTOR, 0, networks)
    print("\n| of the reconstructions, x3 | PSNR, dB | SSIM | error of edges | sharpness |\n|---|---|---|---|---|")
    for name, figures in found.items():
        cells = [
            name,
            cell(figures["psnr"], 2),
            cell(figures["ssim"], 3),
            cell(figures["edges"], 4),
            cell(figures["sharpness"], 2),
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


class _GivenPairs:
    """Small images (N, V, V, 3) and large ones (N, S, S, 3), S a multiple of V."""

    def __init__(self, small: NDArray[np.uint8], large: NDArray[np.uint8]) -> None:
        self._pairs = ReconstructionPairs(torch.from_numpy(small), torch.from_numpy(large))
        self.count = len(large)

    def pair(self, rows: Tensor, factor: int, turn: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return both sides."""
        return self._pairs.pair(rows, factor, turn, device)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("faces", type=Path, help="prepared faces of 96 pixels")
    parser.add_argument("--small", type=Path, help="prepared faces of 32 pixels, with the same names among them")
    parser.add_argument("--photographs", default="photographs", help="an upscaler (default: the shipped one)")
    parser.add_argument("--reconstructions", default="reconstructions", help="another (default: the shipped one)")
    parser.add_argument("--weights", default="faces-32", help="the VAE (default: the shipped one)")
    arguments = parser.parse_args()
    photographs = load_upscaler(arguments.photographs, "photographs", "cpu", tell).network
    reconstructions = load_upscaler(arguments.reconstructions, "reconstructions", "cpu", tell).network
    with Faces(arguments.faces) as faces:
        _, rows = split_rows(faces, silent)
        images = faces.images_at(rows)
        names = [faces.names[row] for row in rows]
    print(f"{len(images):,} faces held out\n")
    print("| | bicubic, dB | VDSR, dB | gain, dB | bicubic, SSIM | VDSR, SSIM |\n|---|---|---|---|---|---|")
    if arguments.small is not None:
        small = _named(arguments.small, names)
        print_photographs("x3, prepared at 32 pixels", _GivenPairs(small, images), UPSCALE_FACTOR, 0, photographs)
    pairs = PhotographPairs(torch.from_numpy(images))
    for turn, filter_name in enumerate(("bilinear", "bicubic")):
        for factor in UPSCALE_FACTORS:
            print_photographs(f"x{factor}, reduced by the {filter_name} filter", pairs, factor, turn, photographs)
    model = load_model(arguments.weights, "cpu", tell)
    made = torch.from_numpy(reconstructed(images, model, tell))
    print_reconstructions(
        ReconstructionPairs(made, torch.from_numpy(images)),
        {"bicubic": None, "VDSR of photographs": photographs, "VDSR of reconstructions": reconstructions},
    )


def _named(path: Path, names: list[str]) -> NDArray[np.uint8]:
    with Faces(path) as faces:
        places = {name: row for row, name in enumerate(faces.names)}
        return faces.images_at(np.array([places[name] for name in names]))


if __name__ == "__main__":
    main()
