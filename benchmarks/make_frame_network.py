"""Train the frame network that comes with facevae:  python benchmarks/make_frame_network.py CELEBA_DIR frame.safetensors

It learns from every second image of CELEBA_DIR, those that `align.py` does not measure by. Each is moved, blurred, lit, made
noisy and compressed anew at random, so that nothing but the face says where the frame is: no edge of the frame, and not the
blocks of its file's JPEG. Prints the mean error while it learns, in percent of the eyes' distance; then that of images that it
did not learn from, moved in the same way: as they are, and with each of the changes. Last comes the file's SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from facevae.model.alignment import FRAME_EYES, FRAME_HEIGHT, FRAME_WIDTH
from facevae.model.frame_network import WINDOW_CENTRE, WINDOW_EXTENT, WINDOW_SIDE, FrameNetwork
from facevae.model.muon import Muon
from facevae.model.precision import resolve_precision
from facevae.storage.celeba import find_faces
from facevae.storage.frame_weights import save_frame_network
from facevae.storage.images import open_image, smaller_side
from facevae.version import __version__

WIDTH, HEIGHT = FRAME_WIDTH // 2, FRAME_HEIGHT // 2
EYE_DISTANCE = float(np.linalg.norm(FRAME_EYES[1] - FRAME_EYES[0]))
BATCH = 128
SHARP = 0.6
"""Part of the examples that are drawn from images that are not enlarged."""
BLOCK = 8
LUMINANCE = [
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56], [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
]  # fmt: skip
CHROMINANCE = [
    [17, 18, 24, 47, 99, 99, 99, 99], [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99], [47, 66, 99, 99, 99, 99, 99, 99],
    *[[99] * BLOCK] * 4,
]  # fmt: skip
"""The tables of JPEG's annex K.1, for the quality 50."""


class Frames(NamedTuple):
    """Frames of CelebA as uint8 (N, 3, 109, 89); the first `sharp` have all their pixels, the others were enlarged to these."""

    pixels: Tensor
    sharp: int


@dataclass(frozen=True)
class Changes:
    """What happens to a frame before the network sees it.

    Attributes:
        moved: a factor of all movements.
        sides: the least and the largest side, in pixels, at which the window is seen before it gets its own.
        jpeg: part of the examples that are compressed.
        lit: part of the examples with other colours, contrast and light; a fifth of these are grey.
        noisy: part of the examples with noise.
        blurred: part of the examples that are blurred or sharpened.
    """

    moved: float = 1.0
    sides: tuple[float, float] = (30.0, 88.0)
    jpeg: float = 0.6
    lit: float = 0.8
    noisy: float = 0.4
    blurred: float = 0.4


PLAIN = Changes(sides=(64.0, 64.0), jpeg=0.0, lit=0.0, noisy=0.0, blurred=0.0)
HARDER = {
    "as it is": PLAIN,
    "compressed, at random places": replace(PLAIN, jpeg=1.0),
    "from 64 pixels a frame": replace(PLAIN, sides=(40.0, 40.0)),
    "other light": replace(PLAIN, lit=1.0),
    "noise": replace(PLAIN, noisy=1.0),
    "all": Changes(),
}


def read_frames(folder: Path, first: int, count: int | None) -> Frames:
    """Read every second image, from the `first` on, or so many of them at most."""
    source = find_faces(folder, with_attributes=False)
    sharp: list[NDArray[np.uint8]] = []
    enlarged: list[NDArray[np.uint8]] = []
    with source.open() as reader:
        for name in source.names[first::2][:count]:
            data = reader.read(name)
            image = open_image(data, name).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
            (sharp if smaller_side(data, name) >= WIDTH else enlarged).append(np.asarray(image))
    pixels = torch.from_numpy(np.stack(sharp + enlarged)).permute(0, 3, 1, 2).contiguous()
    return Frames(pixels, len(sharp))


def drawn_rows(frames: Frames, count: int, random: torch.Generator) -> Tensor:
    """Draw rows of frames."""
    uniform = torch.rand(count, generator=random)
    enlarged = len(frames.pixels) - frames.sharp
    if not enlarged:
        return (uniform * frames.sharp).long()
    sharp = torch.rand(count, generator=random) < SHARP
    return torch.where(sharp, uniform * frames.sharp, frames.sharp + uniform * enlarged).long()


def movements(count: int, amount: float, random: torch.Generator) -> Tensor:
    """Draw similarities as complex numbers (count, 2): z -> m (z - c) + c + s, about the middle of the eyes c."""
    normal = torch.randn(count, 4, generator=random).double() * amount
    scale = (0.05 * normal[:, 0]).clamp(-0.12, 0.12).exp()
    angle = (0.07 * normal[:, 1]).clamp(-0.17, 0.17)
    shift = torch.complex(*(1.8 * normal[:, 2:]).clamp(-5.5, 5.5).unbind(1))
    return torch.stack([torch.polar(scale, angle), shift], dim=1)


def examples(frames: Tensor, changes: Changes, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return windows (N, 3, 64, 64), 0 to 255, of frames uint8 (N, 3, 109, 89), and the shifts (N, 2, 2) of the frame's eyes."""
    count = len(frames)
    factor, shift = movements(count, changes.moved, random).unbind(1)
    mirrored = torch.rand(count, generator=random) < 0.5
    least, largest = np.log(changes.sides)
    side = math.exp(least + (largest - least) * float(torch.rand((), generator=random)))
    first = torch.complex(*(BLOCK * torch.rand(2, count, generator=random).double()))
    cells = math.ceil(side / BLOCK + 1) * BLOCK
    # Pixels of the first view -> the frame moved -> the frame -> the file, mirrored
    rows = torch.arange(cells).double() + 0.5
    places = torch.complex(rows[None, None, :], rows[None, :, None])
    centre = complex(*WINDOW_CENTRE)
    in_moved = (places - first.view(-1, 1, 1)) * (WINDOW_EXTENT / side) + centre - complex(0.5, 0.5) * WINDOW_EXTENT
    middle = complex(*FRAME_EYES.mean(axis=0))
    in_frame = (in_moved - middle - shift.view(-1, 1, 1)) / factor.view(-1, 1, 1) + middle
    x = in_frame.real * (2 / FRAME_WIDTH) - 1
    grid = torch.stack([torch.where(mirrored.view(-1, 1, 1), -x, x), in_frame.imag * (2 / FRAME_HEIGHT) - 1], dim=3)
    seen = functional.grid_sample(frames.float(), grid.float(), "bicubic", "border", align_corners=False)
    seen = softened(seen, changes.blurred, random)
    seen = relit(seen, changes.lit, random)
    seen = (seen + noise(seen, changes.noisy, random)).clamp(0, 255)
    seen = compressed(seen, changes.jpeg, random)
    # and to the window
    inside = (torch.arange(WINDOW_SIDE) + 0.5) * (side / WINDOW_SIDE) * (2 / cells) - 1
    start = torch.view_as_real(first).float() * (2 / cells)
    across, down = inside[None, :] + start[:, :1], inside[None, :] + start[:, 1:]
    shape = count, WINDOW_SIDE, WINDOW_SIDE
    grid = torch.stack([across[:, None, :].expand(shape), down[:, :, None].expand(shape)], dim=3)
    windows = functional.grid_sample(seen, grid, "bicubic", "border", align_corners=False).clamp(0, 255)
    eyes = torch.complex(*torch.from_numpy(FRAME_EYES).T)
    moved = factor[:, None] * (eyes - middle) + middle + shift[:, None] - eyes
    return windows.round().contiguous(memory_format=torch.channels_last), torch.view_as_real(moved).float()


def chosen(count: int, part: float, random: torch.Generator) -> Tensor:
    """Draw which examples something happens to, as 0 or 1, float (count, 1, 1, 1)."""
    return (torch.rand(count, 1, 1, 1, generator=random) < part).float()


def between(count: int, least: float, largest: float, random: torch.Generator, channels: int = 1) -> Tensor:
    """Draw numbers (count, channels, 1, 1)."""
    return least + (largest - least) * torch.rand(count, channels, 1, 1, generator=random)


def softened(images: Tensor, part: float, random: torch.Generator) -> Tensor:
    """Blur some images, and sharpen some."""
    count = len(images)
    blurred = images
    for _ in range(2):
        blurred = functional.avg_pool2d(blurred, 3, 1, 1, count_include_pad=False)
    amount = between(count, -1.0, 1.0, random) * chosen(count, part, random)
    return images + amount * (blurred - images)


def relit(images: Tensor, part: float, random: torch.Generator) -> Tensor:
    """Give some images other colours, contrast and gamma, and light from one side; make some of these grey."""
    count, _, height, width = images.shape
    grey = images.mean(dim=1, keepdim=True) + torch.zeros_like(images)
    saturation = torch.where(chosen(count, 0.2, random) > 0, 0.0, between(count, 0.4, 1.4, random))
    found = (grey + saturation * (images - grey)) * between(count, 0.85, 1.18, random, channels=3)
    found = 255 * (found / 255).clamp(1e-3, 1) ** between(count, -0.5, 0.5, random).exp()
    mean = found.mean(dim=(1, 2, 3), keepdim=True)
    found = mean + between(count, 0.5, 1.4, random) * (found - mean) + between(count, -40, 40, random)
    angle, strength = between(count, 0, 2 * math.pi, random), between(count, 0, 0.5, random)
    across, down = torch.linspace(-1, 1, width), torch.linspace(-1, 1, height)[:, None]
    found = found * (1 + strength * (angle.cos() * across + angle.sin() * down))
    return torch.where(chosen(count, part, random) > 0, found, images)


def noise(images: Tensor, part: float, random: torch.Generator) -> Tensor:
    """Draw noise for some images."""
    amount = between(len(images), 0, 12, random) * chosen(len(images), part, random)
    return amount * torch.randn(images.shape, generator=random)


def cosines() -> Tensor:
    """Return the matrix of the discrete cosine transform of eight values."""
    place = torch.arange(BLOCK).double()
    matrix = torch.cos((2 * place + 1) * place[:, None] * math.pi / (2 * BLOCK)) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.float()


def compressed(images: Tensor, part: float, random: torch.Generator) -> Tensor:
    """Compress some images (N, 3, H, W), of whole blocks, as JPEG does, in qualities from 15 to 95."""
    count, _, height, width = images.shape
    if not part:
        return images
    to_luma = torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    colours = torch.einsum("ij,njhw->nihw", to_luma, images - 128)
    blocks = colours.reshape(count, 3, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(3, 4)
    quality = between(count, 15, 95, random)
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    tables = torch.tensor([LUMINANCE, CHROMINANCE, CHROMINANCE]).float()
    step = (tables[None] * percent / 100).clamp(min=1)[:, :, None, None]
    transform = cosines()
    kept = (transform @ blocks @ transform.T / step).round() * step
    back = (transform.T @ kept @ transform).transpose(3, 4).reshape(colours.shape)
    found = (torch.einsum("ij,njhw->nihw", to_luma.inverse(), back) + 128).clamp(0, 255)
    return torch.where(chosen(count, part, random) > 0, found, images)


def in_advance(frames: Frames, steps: int, random: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the examples of each step, which another thread makes while the network learns from those before."""

    def make() -> tuple[Tensor, Tensor]:
        return examples(frames.pixels[drawn_rows(frames, BATCH, random)], Changes(), random)

    with ThreadPoolExecutor(1) as other:
        coming = other.submit(make)
        for _ in range(steps):
            made = coming.result()
            coming = other.submit(make)
            yield made


def miss(found: Tensor, true: Tensor) -> Tensor:
    """Return by how much each eye (N, 2) is missed, in percent of their distance."""
    distance: Tensor = torch.linalg.vector_norm(found - true, dim=2)
    return distance * (100 / EYE_DISTANCE)


def train(frames: Frames, options: argparse.Namespace) -> FrameNetwork:
    """Train a network."""
    torch.manual_seed(options.seed)
    random = torch.Generator().manual_seed(options.seed)
    network = FrameNetwork()
    whole = {id(network.stem.weight), id(network.eyes.weight)}
    matrices = [one for one in network.parameters() if one.ndim > 1 and id(one) not in whole]
    others = [one for one in network.parameters() if one.ndim == 1 or id(one) in whole]
    optimizer = Muon(matrices, others, options.rate)
    dtype = resolve_precision("auto", torch.device("cpu")).dtype
    start, mean = time.monotonic(), 0.0
    for step, (windows, true) in enumerate(in_advance(frames, options.steps, random)):
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            found = network(windows)
        loss = (miss(found, true).square() + 0.5).sqrt().mean()
        optimizer.forget_gradients()
        torch.autograd.backward(loss)
        warm = min(1.0, (step + 1) / 200)
        optimizer.set_rate(options.rate * warm * 0.5 * (1 + math.cos(math.pi * step / options.steps)))
        optimizer.step()
        mean += float(loss.detach())
        if (step + 1) % options.every == 0:
            print(
                f"step {step + 1}/{options.steps}  {time.monotonic() - start:.0f} s  {mean / options.every:.3f} %",
                flush=True,
            )
            mean = 0.0
    return network.eval()


@torch.inference_mode()
def measure(network: FrameNetwork, frames: Frames, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return the errors (N, 2) on the sharp frames after one pass, by what was done to them."""
    errors = {}
    for name, changes in HARDER.items():
        random = torch.Generator().manual_seed(seed)
        missed = []
        for block in torch.split(frames.pixels[: frames.sharp], BATCH):
            windows, true = examples(block, changes, random)
            missed.append(miss(network(windows), true))
        errors[name] = torch.cat(missed).numpy()
    return errors


def main() -> None:
    """Parse the options, train, write and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("faces", type=Path, help="CelebA in any layout that facevae prepare takes")
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=5500, help=f"of {BATCH} examples")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--every", type=int, default=250, help="steps between two lines")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    frames = read_frames(options.faces, 0, None)
    print(f"{len(frames.pixels)} images, {frames.sharp} of them of at least {WIDTH} x {HEIGHT} pixels", flush=True)
    network = train(frames, options)
    record = {"steps": options.steps, "batch": BATCH, "seed": options.seed, "images": len(frames.pixels)}
    save_frame_network(options.output, network, {**record, "facevae": __version__})
    held_out = read_frames(options.faces, 1, 5000)
    for name, errors in measure(network, held_out, options.seed).items():
        median, most, within = np.median(errors), np.percentile(errors, 95), float((errors < 4).mean())
        print(f"{name:<30} median {median:.2f} %, 95 % within {most:.2f} %; {within:.1%} within 4 %")
    print(f"SHA-256 {hashlib.sha256(options.output.read_bytes()).hexdigest()}  {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
