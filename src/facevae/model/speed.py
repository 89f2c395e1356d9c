"""How fast a device trains the reference network: a short measurement on random images.

Measured are whole training steps of `Trainer`, as `train` takes them: forward, backward, Adam, on images that lie on the device
already. Reading files, the loss on valid and the attribute directions are not in it.
"""

from __future__ import annotations

import time
from statistics import median
from typing import NamedTuple

import torch

from facevae.config import ModelConfig, TrainConfig
from facevae.model.training import Trainer, new_vae
from facevae.progress import Progress, Report, silent

_FIRST_BATCH = 16
_PIECES = 5
"""The measured time is cut into about so many pieces, whose median is taken: other programs disturb some of them."""
_STEPS_READ = 16
"""`train` reads the loss, for which it waits for the device, about once in so many steps; a piece is no longer."""
_ROUND = 16
"""Steps to a round over the random images: few, to need little memory, and not one, because beginning a round takes time."""
_ENDLESS = 10**6


class MeasuredSpeed(NamedTuple):
    """`images_per_second`, trained in batches of `batch_size`."""

    batch_size: int
    images_per_second: float


def measure_speed(
    device: torch.device, precision: str, seconds: float, *, batch_size: int | None = None, report: Report = silent
) -> MeasuredSpeed:
    """Train the reference network for about `seconds` (above 0), after a warm-up, in `precision` (fp32 or bf16).

    Without a `batch_size` the batches are those of the reference, or, where a fifth of the time is too short for one of these,
    about as large as fit into it (at least 16): found by starting small, and growing. At least one step is measured, however
    long it takes. The global random state is left as it was.
    """
    batch = batch_size or _FIRST_BATCH
    stage = f"probe in {precision}"
    report(Progress(stage, 0, 100, "%"))
    while True:
        trainer = _new_trainer(device, precision, batch)
        _timed(trainer, 1)  # The first step makes buffers and chooses kernels.
        pieces = [_timed(trainer, 1)]
        fitting = int(batch / pieces[0] * seconds / _PIECES)
        if batch_size or batch == TrainConfig.batch_size or fitting < 2 * batch:
            break
        # By small factors, since small batches say little about large ones.
        batch = min(4 * batch, fitting, TrainConfig.batch_size)
    steps = min(max(fitting // batch, 1), _STEPS_READ)
    if steps > 1:
        _timed(trainer, _STEPS_READ)  # So many steps, because in them a GPU's step is recorded.
        pieces.clear()
    while not pieces or sum(pieces) < seconds:
        pieces.append(_timed(trainer, steps))
        rate = batch * steps / median(pieces)
        report(Progress(stage, min(int(100 * sum(pieces) / seconds), 100), 100, "%", {"images/s": rate}))
    return MeasuredSpeed(batch, batch * steps / median(pieces))


def _new_trainer(device: torch.device, precision: str, batch_size: int) -> Trainer:
    config = ModelConfig()
    shape = (batch_size, config.image_size, config.image_size, 3)
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random).to(device).repeat(_ROUND, 1, 1, 1)
    vae = new_vae(config, 0).to(device)
    return Trainer(vae, images, TrainConfig(batch_size=batch_size, precision=precision, epochs=_ENDLESS))


def _timed(trainer: Trainer, steps: int) -> float:
    """Return the seconds that so many steps take."""
    start = time.perf_counter()
    for _ in range(steps):
        trainer.advance()
    trainer.read_loss()  # waits for the device
    return time.perf_counter() - start
