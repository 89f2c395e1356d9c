"""The training loop as a machine that can stop and go on at any step.

Everything random in a step is drawn from generators seeded by (seed, epoch, step): the order of the images, and the noise of
the reparameterised sample. So the state to resume from is the network, the optimiser and two numbers, and a resumed run
takes exactly the steps that an unbroken one would have taken (on another kind of device, with other noise).

Optimiser: Adam (Kingma & Ba 2015) at a constant rate, as in the reference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from facevae.config import ModelConfig, TrainConfig
from facevae.model.inference import to_tensor
from facevae.model.losses import LossParts, vae_loss
from facevae.model.vae import VAE

_VALID_STREAM = 2**31
"""The "epoch" that seeds the noise of the validation pass: the same noise each time, so that epochs can be compared."""


class MeanLoss(NamedTuple):
    """The loss and its parts, averaged over images: see `LossParts`."""

    total: float
    reconstruction: float
    kl: float
    mse: float


class _RunningMean:
    """Sums losses on the device, so that reading them (and waiting for the device) is left to the caller's rhythm."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(4, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
        self.images = 0

    def add(self, parts: LossParts, images: int) -> None:
        self._sums += torch.stack([part.detach() for part in parts]) * images
        self.images += images

    def read(self) -> MeanLoss:
        return MeanLoss(*(self._sums / max(self.images, 1)).tolist())


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


class Trainer:
    """Trains `vae` on `images` (N, S, S, 3) uint8, one step a call.

    Attributes:
        epoch: finished epochs.
        step: finished steps of the current epoch.
        steps_per_epoch: steps in an epoch; the last batch may be smaller.
    """

    def __init__(self, vae: VAE, images: Tensor, config: TrainConfig, *, epoch: int = 0, step: int = 0) -> None:
        self.vae = vae
        self.config = config
        self.epoch = epoch
        self.step = step
        self._images = images.to(vae.device)
        self.optimizer = torch.optim.Adam(vae.parameters(), lr=config.learning_rate, fused=vae.device.type != "mps")
        full, rest = divmod(len(images), config.batch_size)
        # Batch normalisation cannot train on a single image: a rest of one sits the epoch out.
        self.steps_per_epoch = full + (rest > 1)
        self._order_epoch = -1
        self._order = torch.empty(0)
        self._running = _RunningMean(vae.device)

    @property
    def epochs_done(self) -> float:
        """How many epochs have been trained, as a fraction."""
        return self.epoch + self.step / self.steps_per_epoch

    def advance(self) -> int:
        """Take one step and return the number of images in it; ends the epoch after its last step."""
        rows = self._batch_rows()
        images = to_tensor(self._images[rows], self.vae.device)
        generator = seeded_generator(self.vae.device, self.config.seed, self.epoch, self.step + 1)
        noise = torch.randn(len(rows), self.vae.config.latent_dim, generator=generator, device=self.vae.device)
        self.vae.train()
        parts = vae_loss(
            images,
            *self.vae(images, noise),
            reconstruction_weight=self.config.reconstruction_weight,
            kl_weight=self.config.kl_weight,
        )
        self.optimizer.zero_grad(set_to_none=True)
        parts.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._running.add(parts, len(rows))
        self.step += 1
        if self.step == self.steps_per_epoch:
            self.epoch, self.step = self.epoch + 1, 0
        return len(rows)

    def read_loss(self) -> MeanLoss:
        """Return the mean training loss since the last call."""
        loss = self._running.read()
        self._running = _RunningMean(self.vae.device)
        return loss

    def _batch_rows(self) -> Tensor:
        if self._order_epoch != self.epoch:
            # Drawn on the CPU, so that a run resumed on another device goes on in the same order.
            generator = seeded_generator(torch.device("cpu"), self.config.seed, self.epoch, 0)
            self._order = torch.randperm(len(self._images), generator=generator).to(self.vae.device)
            self._order_epoch = self.epoch
        start = self.step * self.config.batch_size
        return self._order[start : start + self.config.batch_size]


@torch.inference_mode()
def evaluate_loss(vae: VAE, images: Tensor, config: TrainConfig) -> MeanLoss:
    """Return the mean loss over `images` (N, S, S, 3) uint8 with the network in evaluation mode and repeatable noise."""
    vae.eval()
    running = _RunningMean(vae.device)
    for number, batch in enumerate(torch.split(images, config.batch_size)):
        floats = to_tensor(batch, vae.device)
        generator = seeded_generator(vae.device, config.seed, _VALID_STREAM, number)
        noise = torch.randn(len(batch), vae.config.latent_dim, generator=generator, device=vae.device)
        parts = vae_loss(
            floats,
            *vae(floats, noise),
            reconstruction_weight=config.reconstruction_weight,
            kl_weight=config.kl_weight,
        )
        running.add(parts, len(batch))
    return running.read()
