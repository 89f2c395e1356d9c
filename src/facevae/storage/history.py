"""The history of a training as a CSV table: one row a point, train and valid told apart by the column `split`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from facevae.storage.output import write_bytes


@dataclass(frozen=True)
class HistoryPoint:
    """The loss at one moment of the training.

    Attributes:
        epoch: epochs finished, as a fraction.
        split: "train" (the mean since the point before) or "valid" (the whole split, after an epoch).
        loss: reconstruction + KL weight x kl.
        reconstruction: weighted reconstruction error.
        kl: KL divergence in nats.
        mse: mean squared error of pixels in [0, 1].
        images_per_second: of the training since the point before; 0 for valid.
        active_units: latent units that carry more than 0.1 nat of the KL divergence; None in a history of before they
            were counted.
    """

    epoch: float
    split: str
    loss: float
    reconstruction: float
    kl: float
    mse: float
    images_per_second: float
    active_units: int | None = None


@dataclass(frozen=True)
class UpscalerPoint:
    """The upscaler at one moment of its training.

    Attributes:
        epoch: epochs finished, as a fraction.
        split: "train" (patches of all factors, since the point before) or "valid" (whole faces that were held out, by the
            factor of 3, after an epoch).
        mse: mean squared error of the luma in [0, 1].
        psnr: peak signal-to-noise ratio in dB; of train that of `mse`, of valid the mean over images.
        gain: how much higher it is than that of the bicubic enlargement of the same patches or faces.
        patches_per_second: of the training since the point before; 0 for valid.
    """

    epoch: float
    split: str
    mse: float
    psnr: float
    gain: float
    patches_per_second: float = 0.0


def write_history(path: Path, history: Sequence[HistoryPoint] | Sequence[UpscalerPoint]) -> None:
    """Write a history of at least one point as CSV with a header, atomically.

    Raises:
        DataError: the file cannot be written.
    """
    buffer = io.StringIO()
    names = [field.name for field in fields(history[0] if history else HistoryPoint)]
    writer = csv.DictWriter(buffer, names, lineterminator="\n")
    writer.writeheader()
    for point in history:
        writer.writerow(
            {key: f"{value:.7g}" if isinstance(value, float) else value for key, value in asdict(point).items()}
        )
    write_bytes(path, buffer.getvalue().encode())
