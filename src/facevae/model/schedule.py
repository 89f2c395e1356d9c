"""The learning rate in the course of a training: constant, or a cosine down to nothing, after a linear warm-up.

Source of the cosine: Loshchilov & Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts* (2017), equation 5, without
restarts and with a lowest rate of 0.
"""

from __future__ import annotations

import math
from typing import Protocol

from facevae.config import ScheduleName

WARMUP_START = 0.1
"""The part of the rate that a warm-up begins with. Not 0: the first step would be one of nothing."""


class Scheduled(Protocol):
    """What of a training's configuration decides its learning rate."""

    @property
    def epochs(self) -> int:
        """Of the whole training."""

    @property
    def learning_rate(self) -> float:
        """The highest."""

    @property
    def schedule(self) -> ScheduleName:
        """Its name."""

    @property
    def warmup_epochs(self) -> float:
        """How many epochs it rises."""


def learning_rate_at(config: Scheduled, epochs_done: float) -> float:
    """Return the learning rate of the step that begins after `epochs_done` epochs (a fraction).

    It rises along a line from a tenth of `config.learning_rate` to all of it over `config.warmup_epochs`. Then it stays there,
    or falls along half a cosine to 0 at `config.epochs`, where no step begins. Continuous, from 0 to `config.learning_rate`.
    """
    warmup, rate = config.warmup_epochs, config.learning_rate
    if epochs_done < warmup:
        return rate * (WARMUP_START + (1.0 - WARMUP_START) * epochs_done / warmup)
    if config.schedule == "constant":
        return rate
    part = min(1.0, (epochs_done - warmup) / (config.epochs - warmup))
    return rate * 0.5 * (1.0 + math.cos(math.pi * part))
