"""Training the judge: images spoiled the way a VAE spoils them, binary cross-entropy, AdamW with a cosine.

Whatever it judges is softer than a photograph, and may be noisy or slightly off in colour. A classifier that never saw such
images calls a softened face young, female and smiling; so it is trained on images blurred, shifted and tinted at random, and on
what their first principal components leave of them, which is much like what a VAE does.
AdamW: Loshchilov & Hutter, *Decoupled Weight Decay Regularization* (2019).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facevae.errors import TrainingError, UsageError
from facevae.model.inference import to_tensor
from facevae.model.judge import JUDGE_SIZE, JUDGE_WIDTHS, Judge

COMPONENTS = (20, 400)
"""Principal components that a truncated image is left with, at least and at most."""
_FIT_IMAGES = 2048
"""So many images, evenly spaced, are enough for components that only have to soften."""
_WARMUP = 0.05
"""The part of the steps in which the learning rate rises."""


@dataclass(frozen=True)
class JudgeRecipe:
    """How to train a judge.

    The share `truncated` of the images is reduced to their first principal components, 20 to 400 of them, the logarithm of the
    number uniform. Then an image is flipped with probability one half, shifted by up to `shift` pixels each way, blurred by a
    Gaussian of a standard deviation from 0 to `blur` pixels, multiplied by 1 +- `contrast` in all and 1 +- `tint` in each colour,
    made lighter or darker by up to `brightness`, and given Gaussian noise of a standard deviation from 0 to `noise`; all uniform,
    pixels in [0, 1].
    """

    epochs: int = 16
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    truncated: float = 0.5
    shift: int = 2
    blur: float = 1.2
    contrast: float = 0.15
    brightness: float = 0.05
    tint: float = 0.05
    noise: float = 0.04
    seed: int = 0
    widths: tuple[int, int, int, int] = JUDGE_WIDTHS

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UsageError(f"{self.epochs} epochs are too few: use a whole number of at least 1.")
        if self.batch_size < 2:
            raise UsageError(
                f"A batch size of {self.batch_size} is too small: batch normalisation needs at least 2 images."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain dictionary, for JSON."""
        return asdict(self) | {"widths": list(self.widths)}


def new_judge(attributes: int, recipe: JudgeRecipe) -> Judge:
    """Return a judge whose initial weights depend on the seed alone; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)
        return Judge(attributes, recipe.widths)


class Components(NamedTuple):
    """The principal components of images with D = S * S * 3 values: their `mean` (D), and a `basis` (K, D) of unit vectors."""

    mean: Tensor
    basis: Tensor


def principal_components(images: NDArray[np.uint8]) -> Components:
    """Return the first components, 400 at most, of images (N, S, S, 3)."""
    chosen = images[:: max(1, len(images) // _FIT_IMAGES)][:_FIT_IMAGES]
    flat = torch.from_numpy(chosen.reshape(len(chosen), -1).astype(np.float32))
    mean = flat.mean(dim=0)
    return Components(mean, torch.linalg.svd(flat - mean, full_matrices=False).Vh[: COMPONENTS[1]])


def truncate(images: NDArray[np.uint8], components: Components, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return what the first `numbers` (B) of their components leave of images (B, S, S, 3)."""
    flat = torch.from_numpy(images).flatten(1).float()  # which also takes no images at all
    scores = (flat - components.mean) @ components.basis.T
    scores *= torch.arange(len(components.basis)) < torch.from_numpy(numbers)[:, None]
    left = (components.mean + scores @ components.basis).round_().clamp_(0, 255).to(torch.uint8)
    array: NDArray[np.uint8] = left.numpy().reshape(images.shape)
    return array


def _truncated(
    images: NDArray[np.uint8], share: float, components: Components, random: np.random.Generator
) -> NDArray[np.uint8]:
    chosen = random.random(len(images)) < share
    fewest, most = (math.log(number) for number in COMPONENTS)
    numbers = np.exp(random.uniform(fewest, most, len(images))).astype(np.int64)
    images = images.copy()
    images[chosen] = truncate(images[chosen], components, numbers[chosen])
    return images


def spoiled(
    images: NDArray[np.uint8], recipe: JudgeRecipe, random: np.random.Generator, components: Components | None = None
) -> Tensor:
    """Return images (B, 32, 32, 3), each changed at random as the recipe says, as a float tensor (B, 3, 32, 32).

    Without `components` no image is truncated.
    """
    count = len(images)
    if components is not None:
        images = _truncated(images, recipe.truncated, components, random)

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        return torch.from_numpy(random.uniform(low, high, (count, *shape)).astype(np.float32))

    pixels = to_tensor(_moved(images, recipe.shift, random), torch.device("cpu"))
    blur = blur_matrices(drawn(0.0, recipe.blur))[:, None]
    pixels = blur @ pixels @ blur.transpose(-1, -2)
    pixels = pixels * drawn(1.0 - recipe.contrast, 1.0 + recipe.contrast, 1, 1, 1)
    pixels = pixels * drawn(1.0 - recipe.tint, 1.0 + recipe.tint, 3, 1, 1)
    pixels = pixels + drawn(-recipe.brightness, recipe.brightness, 1, 1, 1)
    noise = torch.from_numpy(random.standard_normal(pixels.shape, dtype=np.float32))
    pixels = (pixels + noise * drawn(0.0, recipe.noise, 1, 1, 1)).clamp_(0.0, 1.0)
    return pixels.contiguous(memory_format=torch.channels_last)


def blur_matrices(sigmas: Tensor) -> Tensor:
    """Return (B, 32, 32) so that `matrix @ column` blurs by a Gaussian of standard deviation `sigmas` (B) pixels.

    The rows add up to 1, so that an image does not get darker at its edges.
    """
    places = torch.arange(JUDGE_SIZE, dtype=torch.float32)
    distances = (places[:, None] - places) ** 2
    # A sigma of 0 is the identity.
    return torch.softmax(-distances / (2.0 * sigmas.clamp(min=1e-3)[:, None, None] ** 2), dim=-1)


def _moved(images: NDArray[np.uint8], most: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Flip half of the images (B, S, S, 3), and shift each by up to `most` pixels down and right; edges are repeated."""
    count, side = images.shape[:2]
    places = np.arange(side)
    rows, columns = (places + random.integers(-most, most + 1, (count, 1)) for _ in range(2))
    columns = np.where(random.random((count, 1)) < 0.5, side - 1 - columns, columns)
    rows, columns = np.clip(rows, 0, side - 1), np.clip(columns, 0, side - 1)
    moved: NDArray[np.uint8] = images[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


class JudgeTrainer:
    """Trains `network` on images (N, 32, 32, 3) uint8 and their attributes (N, A) in {-1, 1}, an epoch a call, on the CPU.

    The steps depend on the recipe's seed, the images and the number of threads, and on nothing else.
    """

    def __init__(
        self,
        network: Judge,
        images: NDArray[np.uint8],
        attributes: NDArray[np.int8],
        recipe: JudgeRecipe,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.recipe = network, recipe
        self._images, self._wanted = images, torch.from_numpy((attributes > 0).astype(np.float32))
        self._dtype = dtype
        self._components = principal_components(images) if recipe.truncated > 0.0 else None
        # A batch of one image cannot be normalised; no batch is smaller than half the others.
        self.steps_per_epoch = max(1, round(len(images) / recipe.batch_size))
        self._optimiser = torch.optim.AdamW(
            network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self._epoch = 0

    def run_epoch(self) -> float:
        """Go once through all images in a new order; return the mean loss, in nats per attribute.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        random = np.random.default_rng([self.recipe.seed, self._epoch])
        batches = np.array_split(random.permutation(len(self._images)), self.steps_per_epoch)
        self.network.train()
        total = 0.0
        for number, rows in enumerate(batches):
            self._set_rate(self._epoch * self.steps_per_epoch + number)
            total += self._step(rows, random) * len(rows)
        self._epoch += 1
        loss = total / len(self._images)
        if not math.isfinite(loss):
            raise TrainingError("The judge's loss is no longer finite: train it with a lower learning rate.")
        return loss

    def _step(self, rows: NDArray[np.int64], random: np.random.Generator) -> float:
        images = spoiled(self._images[rows], self.recipe, random, self._components)
        with torch.autocast("cpu", self._dtype, enabled=self._dtype != torch.float32):
            _, logits = self.network(images)
        loss = functional.binary_cross_entropy_with_logits(logits.float(), self._wanted[rows])
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return float(loss.detach())

    def _set_rate(self, step: int) -> None:
        steps = self.steps_per_epoch * self.recipe.epochs
        warmup = max(1, round(_WARMUP * steps))
        part = min(1.0, (step + 1) / warmup) if step < warmup else 0.5 * (1.0 + math.cos(math.pi * step / steps))
        for group in self._optimiser.param_groups:
            group["lr"] = self.recipe.learning_rate * part


class Accuracies(NamedTuple):
    """How often a judge is right on each of A attributes, float64 (A).

    `balanced` is the mean of the rates on faces with and without the attribute (NaN where there is only one kind), `majority` is
    how often one would be right by always giving the more frequent answer.
    """

    plain: NDArray[np.float64]
    balanced: NDArray[np.float64]
    majority: NDArray[np.float64]


def accuracies(logits: NDArray[np.float32], attributes: NDArray[np.int8]) -> Accuracies:
    """Compare logits (N, A) with attributes (N, A) in {-1, 1}."""
    said, has = logits > 0, attributes > 0
    right = said == has
    rates = []
    for kind in (has, ~has):
        count = kind.sum(axis=0).astype(np.float64)
        rates.append(np.divide((right & kind).sum(axis=0), count, out=np.full(len(count), np.nan), where=count > 0))
    share = has.mean(axis=0)
    return Accuracies(right.mean(axis=0), (rates[0] + rates[1]) / 2, np.maximum(share, 1.0 - share))
