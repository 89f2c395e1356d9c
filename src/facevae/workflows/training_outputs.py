"""What a training leaves beside its network: attribute directions and prior, the loss plot, and the losses in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.config import ENCODE_BATCH, TrainConfig
from facevae.model.encoder import FoldedEncoder
from facevae.model.latent_space import AttributeDirections, ClassSums
from facevae.model.prior import MOST_UNITS, LatentMoments, LatentPrior
from facevae.model.vae import VAE
from facevae.progress import Progress, Report
from facevae.storage.history import HistoryPoint
from facevae.storage.output import write_bytes

History = Sequence[HistoryPoint]


class LatentStatistics(NamedTuple):
    """What the posteriors of all training images give: the attribute directions, None without attributes, and the prior, None
    for more than `MOST_UNITS` latent units.
    """

    directions: AttributeDirections | None
    prior: LatentPrior | None


def measure_latents(
    vae: VAE,
    images: NDArray[np.uint8],
    attributes: NDArray[np.int8] | None,
    *,
    stop: Callable[[], bool],
    report: Report,
) -> LatentStatistics | None:
    """Encode images (N, S, S, 3), of attributes (N, A), in one pass; None when `stop` says so."""
    latent_dim = vae.config.latent_dim
    sums = ClassSums(attributes.shape[1], latent_dim) if attributes is not None else None
    moments = LatentMoments(latent_dim) if latent_dim <= MOST_UNITS else None
    total, done = len(images), 0
    batches = (images[start : start + ENCODE_BATCH] for start in range(0, total, ENCODE_BATCH))
    with closing(FoldedEncoder(vae).batches(batches)) as posteriors:
        while not stop():
            posterior = next(posteriors, None)
            if posterior is None:
                return LatentStatistics(
                    sums.directions() if sums is not None else None, moments.prior() if moments is not None else None
                )
            mean, log_variance = posterior
            if sums is not None and attributes is not None:
                sums.add(mean, attributes[done : done + len(mean)])
            if moments is not None:
                moments.add(mean, log_variance)
            done += len(mean)
            report(Progress("latents", done, total))
    return None


def write_loss_plot(path: Path, history: History, config: TrainConfig) -> None:
    """Draw the loss on train and valid.

    Raises:
        DataError: the file cannot be written.
    """
    from facevae.figures.picture import plot_bytes
    from facevae.figures.plots import LossCurves, loss_plot

    def curves(split: str) -> LossCurves:
        points = [point for point in history if point.split == split]
        return LossCurves(
            [point.epoch for point in points],
            [point.loss for point in points],
            [point.reconstruction for point in points],
            [point.kl for point in points],
        )

    figure = loss_plot(curves("train"), curves("valid"), config.reconstruction_weight, config.kl_weight)
    write_bytes(path, plot_bytes(figure, path.name))


def last_point(history: History, split: str, until: float | None = None) -> HistoryPoint | None:
    """Return the last point of a split, not after `until` epochs; None without any."""
    return next(
        (point for point in reversed(history) if point.split == split and (until is None or point.epoch <= until)), None
    )


def describe_point(point: HistoryPoint) -> str:
    """Return the loss of a point in words."""
    return (
        f"{point.split} loss {point.loss:.2f} (reconstruction {point.reconstruction:.2f}, KL {point.kl:.2f}, "
        f"{point.active_units} active units)"
    )


def mean_of_epoch(history: History, epoch: int) -> HistoryPoint | None:
    """Return the mean of the training points of one epoch, with the active units of its last; None without any."""
    points = [point for point in history if point.split == "train" and epoch - 1 < point.epoch <= epoch]
    if not points:
        return None
    names = ("loss", "reconstruction", "kl", "mse", "images_per_second")
    means = {name: sum(getattr(point, name) for point in points) / len(points) for name in names}
    return replace(points[-1], epoch=float(epoch), **means)
