"""The training loop as a machine that can stop and go on at any step.

Everything random in a step is drawn from generators seeded by (seed, epoch, step): the order of the images, which of them are
mirrored, and the noise of the reparameterised sample. So the state to resume from is the network, the optimiser and two numbers,
and a resumed run takes exactly the steps that an unbroken one would have taken (on another kind of device, with other noise).

Optimiser: Adam (`adam.py`), or Muon for weights and filters and Adam for the rest (`muon.py`), at the rate of `schedule.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from facevae.config import ModelConfig, TrainConfig
from facevae.model.adam import Adam
from facevae.model.blocked import BlockedPass
from facevae.model.cuda_graph import CudaGraph
from facevae.model.inference import CPU_BATCH, to_tensor
from facevae.model.losses import LossParts, kl_divergence, pixel_weights, vae_loss, weighted_loss
from facevae.model.muon import Muon
from facevae.model.precision import resolve_precision
from facevae.model.ranks import Ranks
from facevae.model.schedule import learning_rate_at
from facevae.model.vae import VAE
from facevae.model.whole import WholePass
from facevae.model.workers import Workers

ACTIVE_NATS = 0.1
"""A latent unit is active if it carries more than this: its KL divergence, averaged over images.

(The other common measure, a posterior mean whose variance over images exceeds 0.01, Burda et al. 2016, section 5.1, calls all
200 units of the reference active after an epoch, 170 of which carry a fiftieth of a nat each.)
"""

_VALID_STREAM = 2**31
"""The "epoch" that seeds the noise of the validation pass: the same noise each time, so that epochs can be compared."""


class MeanLoss(NamedTuple):
    """The loss and its parts, averaged over images: see `LossParts`; and how many latent units were active on them."""

    total: float
    reconstruction: float
    kl: float
    mse: float
    active_units: int


class _RunningMean:
    """Sums losses on the device, so that reading them (and waiting for the device) is left to the caller's rhythm."""

    def __init__(self, vae: VAE, ranks: Ranks) -> None:
        dtype = torch.float32 if vae.device.type == "mps" else torch.float64
        self._losses = torch.zeros(4, dtype=dtype, device=vae.device)
        self._unit_kl = torch.zeros(vae.config.latent_dim, dtype=dtype, device=vae.device)
        self._ranks = ranks
        self.images = 0

    def add(self, parts: LossParts, mean: Tensor, log_variance: Tensor, images: float) -> None:
        """Add a batch worth `images`; their number over all ranks is counted by the caller, in `self.images`."""
        self._losses += torch.stack([part.detach() for part in parts]) * images
        self._unit_kl += kl_divergence(mean.detach(), log_variance.detach()).mean(dim=0) * images

    def read(self) -> MeanLoss:
        """Return the means since the last call."""
        count = max(self.images, 1)
        active = int((self._ranks.sum(self._unit_kl / count) > ACTIVE_NATS).sum())
        total, reconstruction, kl, mse = self._ranks.sum(self._losses / count).tolist()
        # In place, because a captured CUDA graph goes on adding to these very tensors.
        self._losses.zero_()
        self._unit_kl.zero_()
        self.images = 0
        return MeanLoss(total, reconstruction, kl, mse, active)


def seeded_generator(device: torch.device, *numbers: int) -> torch.Generator:
    """Return a generator on `device` whose stream depends on all of `numbers` (whole numbers from 0 on)."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1
    return torch.Generator(device).manual_seed(seed)


def new_vae(config: ModelConfig, seed: int) -> VAE:
    """Return a VAE whose initial weights depend on the seed alone; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which seeds the generators of the GPUs too, and fork_rng would have to wake those to spare them.
        torch.default_generator.manual_seed(seed)
        return VAE(config)


def new_optimizer(vae: VAE, config: TrainConfig, workers: Workers | None = None) -> Adam | Muon:
    """Return the optimiser of the configuration for the parameters of `vae`."""
    if config.optimizer == "adam":
        return Adam(vae.parameters(), config.learning_rate)
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in vae.named_parameters():
        # The log-variance is an exponent: steps of full length in all its directions would be rash.
        is_matrix = parameter.ndim >= 2 and not name.startswith("encoder.log_variance")
        (matrices if is_matrix else others).append(parameter)
    return Muon(matrices, others, config.learning_rate, workers)


class Trainer:
    """Trains `vae` on `images` (N, S, S, 3) uint8, one step a call.

    Attributes:
        config: as given, with the precision found.
        epoch: finished epochs.
        step: finished steps of the current epoch.
        steps_per_epoch: steps in an epoch; the last batch may be smaller.
    """

    def __init__(
        self,
        vae: VAE,
        images: Tensor,
        config: TrainConfig,
        *,
        epoch: int = 0,
        step: int = 0,
        ranks: Ranks | None = None,
    ) -> None:
        """Of several `ranks`, each has all the images and takes its share of every batch."""
        device = vae.device
        self.ranks = ranks if ranks is not None else Ranks()
        precision = resolve_precision(config.precision, device)
        self.vae = vae
        self.config = replace(config, precision=precision.name)
        self.epoch = epoch
        self.step = step
        self._images = images.to(device)
        self._workers = Workers() if device.type == "cpu" else None
        self._pass = (
            BlockedPass(vae, precision.dtype, self.ranks, self._workers, config.focus)
            if self._workers is not None
            else WholePass(vae, precision.dtype, self.ranks, config.focus)
        )
        self.optimizer = new_optimizer(vae, config, self._workers)
        full, rest = divmod(len(images), config.batch_size)
        # Batch normalisation cannot train on a single image: a rest of one sits the epoch out.
        self.steps_per_epoch = full + (rest > 1)
        self._order_epoch = -1
        self._order = torch.empty(0)
        self._running = _RunningMean(vae, self.ranks)
        alone = device.type == "cuda" and self.ranks.count == 1
        self._graph = CudaGraph(self._train_on, config.epochs * self.steps_per_epoch) if alone else None
        self._call = self._graph if self._graph is not None else self._train_on

    @property
    def epochs_done(self) -> float:
        """How many epochs have been trained, as a fraction."""
        return self.epoch + self.step / self.steps_per_epoch

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return learning_rate_at(self.config, self.epochs_done)

    def advance(self) -> int:
        """Take one step and return the number of images in it; ends the epoch after its last step."""
        with self._workers.alone() if self._workers is not None else nullcontext():
            return self._advance()

    def _advance(self) -> int:
        rows = self._batch_rows()
        generator = seeded_generator(self.vae.device, self.config.seed, self.epoch, self.step + 1)
        noise = torch.randn(len(rows), self.vae.config.latent_dim, generator=generator, device=self.vae.device)
        self.optimizer.set_rate(self.learning_rate)
        self.vae.train()
        share, images = self.ranks.share(len(rows))
        with self.ranks.losses_told():
            self._call(rows[share], noise[share], images, images / len(rows))
        self._running.images += len(rows)
        self.step += 1
        if self.step == self.steps_per_epoch:
            self.epoch, self.step = self.epoch + 1, 0
        return len(rows)

    @property
    def graph_refusal(self) -> str:
        """Why the steps on a GPU cannot be replayed as a CUDA graph, once that was tried in vain."""
        return self._graph.refusal if self._graph is not None else ""

    def read_loss(self) -> MeanLoss:
        """Return the mean training loss since the last call."""
        return self._running.read()

    def free_buffers(self) -> None:
        """Give back the memory that only steps need."""
        self._pass.free_buffers()

    def _train_on(self, rows: Tensor, noise: Tensor, images: float, part: float) -> None:
        """Take a step on `rows`, worth `images` and `part` of the batch of all ranks; nothing in here waits for the device."""
        output = self._pass(self._images_of(rows), noise)
        losses = weighted_loss(
            *output, reconstruction_weight=self.config.reconstruction_weight, kl_weight=self.config.kl_weight
        )
        self.optimizer.forget_gradients()
        (losses.total * part).backward()  # type: ignore[no-untyped-call]
        self.ranks.sum_gradients(self.vae.parameters())
        self.optimizer.step()
        self._pass.update_statistics(copies=len(rows) / images)
        self._running.add(losses, output.mean, output.log_variance, images)

    def _images_of(self, rows: Tensor) -> Tensor:
        """Return the images of those rows, which beyond the last image mean the mirror images, from the first again."""
        if not self.config.flip:
            return self._images.index_select(0, rows)
        images = self._images.index_select(0, rows % len(self._images))
        return torch.where((rows >= len(self._images))[:, None, None, None], images.flip(2), images)

    def _batch_rows(self) -> Tensor:
        if self._order_epoch != self.epoch:
            # Drawn on the CPU, so that a run resumed on another device goes on in the same order.
            generator = seeded_generator(torch.device("cpu"), self.config.seed, self.epoch, 0)
            order = torch.randperm(len(self._images), generator=generator)
            if self.config.flip:
                order += len(order) * torch.randint(2, (len(order),), generator=generator)
            self._order = order.to(self.vae.device)
            self._order_epoch = self.epoch
        start = self.step * self.config.batch_size
        return self._order[start : start + self.config.batch_size]


@torch.inference_mode()
def evaluate_loss(vae: VAE, images: Tensor, config: TrainConfig, ranks: Ranks | None = None) -> MeanLoss:
    """Return the mean loss over `images` (N, S, S, 3) uint8 in float32, in evaluation mode, with repeatable noise.

    Of several `ranks`, each evaluates its share of the batches, and all return the same.
    """
    ranks = ranks if ranks is not None else Ranks()
    vae.eval()
    running = _RunningMean(vae, ranks)
    weights = pixel_weights(vae.config.image_size, config.focus)
    weights = weights.to(vae.device) if weights is not None else None

    def evaluate(piece: tuple[Tensor, Tensor]) -> tuple[LossParts, Tensor, Tensor, int]:
        with torch.inference_mode():  # a setting of each thread
            floats = to_tensor(piece[0], vae.device)
            output = vae(floats, piece[1])
            losses = vae_loss(
                floats,
                *output,
                reconstruction_weight=config.reconstruction_weight,
                kl_weight=config.kl_weight,
                weights=weights,
            )
        return losses, output.mean, output.log_variance, len(floats)

    pieces = _valid_pieces(vae, images, config, ranks)
    if vae.device.type == "cpu":
        workers = Workers()
        with workers.alone():
            for result in workers.each(evaluate, pieces):
                running.add(*result)
    else:
        for result in map(evaluate, pieces):
            running.add(*result)
    running.images = len(images)
    return running.read()


def _valid_pieces(vae: VAE, images: Tensor, config: TrainConfig, ranks: Ranks) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield this rank's share of the images, with their noise."""
    for number, batch in enumerate(torch.split(images, config.batch_size)):
        if number % ranks.count != ranks.rank:
            continue
        generator = seeded_generator(vae.device, config.seed, _VALID_STREAM, number)
        noise = torch.randn(len(batch), vae.config.latent_dim, generator=generator, device=vae.device)
        size = CPU_BATCH if vae.device.type == "cpu" else len(batch)
        yield from zip(torch.split(batch, size), torch.split(noise, size), strict=True)
