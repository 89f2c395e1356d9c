"""Training VDSR: pairs of an enlarged image and the one it should have been, squared error of the residual.

Source: Kim, Lee & Lee 2016, sections 3.2 (residual learning) and 3.3 (all factors in one network). In place of their gradient
descent at a rate of 0.1 with clipped gradients, Muon (`muon.py`), whose steps have a fixed length to begin with.

As in `training.py`, everything random in a step is drawn from a generator seeded by (seed, epoch, step), and a step is
computed in blocks, each on one thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from facevae.config import UPSCALE_FACTOR, UpscalerConfig, UpscalerTrainConfig
from facevae.model.inference import to_tensor
from facevae.model.muon import Muon
from facevae.model.precision import resolve_precision
from facevae.model.resampling import Filter, resized
from facevae.model.schedule import learning_rate_at
from facevae.model.training import seeded_generator
from facevae.model.vdsr import VDSR, luma_of
from facevae.model.workers import Workers

_BLOCK = 4
"""Patches of a block on a processor."""
_LEAST_ERROR = 1e-10
"""100 dB: two equal images have no signal-to-noise ratio."""
_FILTERS: tuple[Filter, ...] = ("bilinear", "bicubic")
"""What reduces photographs, in turns: `prepare`'s filter, and the one that the paper and most programs take."""


class Pairs(Protocol):
    """Images to learn from: N of them, as small ones to enlarge and as what should come out."""

    count: int

    def pair(self, rows: Tensor, factor: int, turn: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the lumas (B, 1, H, W) of images enlarged by `factor`, and of what they should have been."""


class PhotographPairs:
    """Photographs (N, S, S, 3) uint8, reduced and enlarged again."""

    def __init__(self, images: Tensor) -> None:
        self._images, self.count = images, len(images)

    def pair(self, rows: Tensor, factor: int, turn: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return both sides; an even `turn` reduces bilinearly, an odd one bicubically."""
        images = to_tensor(self._images[rows], device)
        side = images.shape[-1] // factor * factor
        images = images[:, :, :side, :side]
        small = _as_stored(resized(images, side // factor, side // factor, _FILTERS[turn % len(_FILTERS)]))
        return resized(luma_of(small), side, side), luma_of(images)


class ReconstructionPairs:
    """Reconstructions (N, V, V, 3) uint8 of photographs (N, S, S, 3) uint8, and these photographs at the size wanted."""

    def __init__(self, reconstructions: Tensor, images: Tensor) -> None:
        self._reconstructions, self._images, self.count = reconstructions, images, len(images)

    def pair(self, rows: Tensor, factor: int, turn: int, device: torch.device) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return both sides; every `turn` is the same."""
        small = to_tensor(self._reconstructions[rows], device)
        side = small.shape[-1] * factor
        wanted = luma_of(to_tensor(self._images[rows], device))
        method: Filter = "bilinear" if side < wanted.shape[-1] else "bicubic"
        return resized(luma_of(small), side, side), resized(wanted, side, side, method)


def _as_stored(images: Tensor) -> Tensor:
    """Round images in [0, 1] to what 8 bits hold: what is enlarged comes from files."""
    return images.clamp(0.0, 1.0).mul(255.0).round_().div_(255.0)


def new_upscaler(config: UpscalerConfig, seed: int) -> VDSR:
    """Return a network whose initial weights depend on the seed alone; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return VDSR(config)


def new_optimizer(network: VDSR, learning_rate: float, workers: Workers | None = None) -> Muon:
    """Return Muon for the inner filters, and Adam for the first and last ones and the biases."""
    last = len(network.layers) - 1
    inner: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        is_inner = parameter.ndim >= 2 and name.split(".")[1] not in ("0", str(last))
        (inner if is_inner else others).append(parameter)
    return Muon(inner, others, learning_rate, workers)


class MeanErrors(NamedTuple):
    """Mean squared errors of the luma of patches: the network's, and the bicubic enlargement's of the same patches."""

    mse: float
    bicubic: float

    @property
    def psnr(self) -> float:
        """The network's peak signal-to-noise ratio in dB, at most 100."""
        return decibels(self.mse)

    @property
    def gain(self) -> float:
        """How much higher it is than that of the bicubic enlargement, in dB."""
        return decibels(self.mse) - decibels(self.bicubic)


def decibels(mse: float) -> float:
    """Return the peak signal-to-noise ratio of a mean squared error of values in [0, 1]."""
    return -10.0 * math.log10(max(mse, _LEAST_ERROR))


class _Block(NamedTuple):
    """Patches that a thread takes at a time: rows, where in the image, mirrored or not, and by which factor and filter."""

    rows: Tensor
    places: Tensor
    mirrored: Tensor
    factor: int
    turn: int


class _Part(NamedTuple):
    """What a block adds: squared errors of the network and of the bicubic enlargement, pixels, and gradients."""

    error: float
    bicubic_error: float
    pixels: int
    gradients: Sequence[Tensor]


class UpscalerTrainer:
    """Trains `network` on `pairs`, one step a call.

    Attributes:
        config: as given, with the precision found.
        epoch: finished epochs.
        step: finished steps of the current epoch.
        steps_per_epoch: steps in an epoch; the last batch may be smaller.
        faces: the images it learns from.
    """

    def __init__(
        self, network: VDSR, pairs: Pairs, config: UpscalerTrainConfig, *, epoch: int = 0, step: int = 0
    ) -> None:
        self.network, self.device = network, next(network.parameters()).device
        precision = resolve_precision(config.precision, self.device)
        self.config = replace(config, precision=precision.name)
        self.epoch, self.step = epoch, step
        self.steps_per_epoch = -(-pairs.count // config.batch_size)
        self.faces = pairs.count
        self._pairs, self._dtype = pairs, precision.dtype
        self._workers = Workers() if self.device.type == "cpu" else None
        self._parameters = list(network.parameters())
        self._order, self._order_epoch = torch.empty(0), -1
        self.optimizer = new_optimizer(network, config.learning_rate, self._workers)
        self._sums = _Part(0.0, 0.0, 0, ())

    @property
    def epochs_done(self) -> float:
        """Finished epochs, as a fraction."""
        return self.epoch + self.step / self.steps_per_epoch

    def advance(self) -> int:
        """Take one step; return how many patches it saw."""
        rows = self._batch_rows()
        # The stream of step 0 is that of the order.
        generator = seeded_generator(torch.device("cpu"), self.config.seed, self.epoch, self.step + 1)
        blocks = list(self._blocks(rows, generator))
        self.optimizer.set_rate(learning_rate_at(self.config, self.epochs_done))
        if self._workers is None:
            self._add_up(map(self._gradients, blocks))
            self.optimizer.step()
        else:
            with self._workers.alone():
                self._add_up(self._workers.each(self._gradients, blocks))
                self.optimizer.step()
        self.step += 1
        if self.step == self.steps_per_epoch:
            self.epoch, self.step = self.epoch + 1, 0
        return len(rows)

    def read_errors(self) -> MeanErrors:
        """Return the mean squared errors of the patches since the last call."""
        sums, self._sums = self._sums, _Part(0.0, 0.0, 0, ())
        return MeanErrors(sums.error / max(sums.pixels, 1), sums.bicubic_error / max(sums.pixels, 1))

    def _batch_rows(self) -> Tensor:
        if self._order_epoch != self.epoch:
            generator = seeded_generator(torch.device("cpu"), self.config.seed, self.epoch, 0)
            self._order = torch.randperm(self._pairs.count, generator=generator)
            self._order_epoch = self.epoch
        start = self.step * self.config.batch_size
        return self._order[start : start + self.config.batch_size]

    def _blocks(self, rows: Tensor, generator: torch.Generator) -> Iterator[_Block]:
        places = torch.rand(len(rows), 2, generator=generator)
        mirrored = torch.rand(len(rows), generator=generator) < 0.5
        combinations = [(factor, turn) for turn in range(len(_FILTERS)) for factor in self.config.factors]
        first = int(torch.randint(len(combinations), (), generator=generator))
        size = _BLOCK if self.device.type == "cpu" else -(-len(rows) // len(combinations))
        for number, start in enumerate(range(0, len(rows), size)):
            factor, turn = combinations[(first + number) % len(combinations)]
            block = slice(start, start + size)
            yield _Block(rows[block], places[block], mirrored[block], factor, turn)

    def _gradients(self, block: _Block) -> _Part:
        """Return the summed squared errors, the number of pixels, and the gradients of half the network's sum."""
        enlarged, wanted = (
            self._patches(side, block) for side in self._pairs.pair(block.rows, block.factor, block.turn, self.device)
        )
        with torch.enable_grad():
            with torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32):
                residual = self.network(enlarged)
            missing = wanted - enlarged
            error = (residual.float() - missing).square().sum()
            gradients = torch.autograd.grad(0.5 * error, self._parameters)
        return _Part(float(error.detach()), float(missing.square().sum()), wanted.numel(), gradients)

    def _patches(self, images: Tensor, block: _Block) -> Tensor:
        """Cut one patch of each image (B, 1, S, S), or take it whole where it is no larger."""
        size = min(self.config.patch_size, images.shape[-1])
        corners = (block.places * (images.shape[-1] - size + 1)).long().tolist()
        patches = torch.stack(
            [image[:, y : y + size, x : x + size] for image, (y, x) in zip(images, corners, strict=True)]
        )
        patches = torch.where(block.mirrored.to(patches.device)[:, None, None, None], patches.flip(-1), patches)
        return patches.contiguous(memory_format=torch.channels_last)

    def _add_up(self, parts: Iterator[_Part]) -> None:
        """Give each parameter its gradient of the mean over all pixels; in the order of the blocks, whoever is first."""
        pixels = 0
        totals = [torch.zeros_like(parameter) for parameter in self._parameters]
        for part in parts:
            error, bicubic_error, seen, _ = self._sums
            self._sums = _Part(error + part.error, bicubic_error + part.bicubic_error, seen + part.pixels, ())
            pixels += part.pixels
            for total, gradient in zip(totals, part.gradients, strict=True):
                total += gradient
        for parameter, total in zip(self._parameters, totals, strict=True):
            parameter.grad = total / pixels


class Gain(NamedTuple):
    """Peak signal-to-noise ratios of the luma in dB, the mean over images: the network's, and the bicubic enlargement's."""

    psnr: float
    bicubic: float
    mse: float

    @property
    def gain(self) -> float:
        """How much higher the network's is, in dB."""
        return self.psnr - self.bicubic


def measure_gain(network: VDSR, pairs: Pairs, dtype: torch.dtype, factor: int = UPSCALE_FACTOR) -> Gain:
    """Enlarge whole images and compare them with what they should have been."""
    device = next(network.parameters()).device

    def measure(start: int) -> tuple[Tensor, Tensor]:
        rows = torch.arange(start, min(start + _BLOCK, pairs.count))
        enlarged, wanted = pairs.pair(rows, factor, 0, device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            residual = network(enlarged.contiguous(memory_format=torch.channels_last))
        outputs = (enlarged + residual.float(), enlarged)
        network_error, bicubic_error = (
            (output.clamp(0.0, 1.0) - wanted).square().mean(dim=(1, 2, 3)).double().cpu() for output in outputs
        )
        return network_error, bicubic_error

    starts = range(0, pairs.count, _BLOCK)
    with torch.inference_mode():
        if device.type == "cpu":
            workers = Workers()
            with workers.alone():
                parts = list(workers.each(measure, starts))
        else:
            parts = [measure(start) for start in starts]
    network_error, bicubic_error = (torch.cat(side).clamp(min=_LEAST_ERROR) for side in zip(*parts, strict=True))
    psnr, bicubic = (float((-10.0 * error.log10()).mean()) for error in (network_error, bicubic_error))
    return Gain(psnr, bicubic, float(network_error.mean()))
