"""What several workflows need: the model of the workspace, and what it makes of latents."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.config import PICTURE_SCALE, WEIGHTS_FILE, ModelConfig
from facevae.errors import MismatchError, UsageError
from facevae.model.device import resolve_device
from facevae.progress import Notice, Progress, Report
from facevae.storage.faces import Faces
from facevae.storage.output import StrPath
from facevae.storage.shipped import SHIPPED_NAME, names_shipped, shipped_weights
from facevae.storage.weights import FaceModel


class NamedImages(NamedTuple):
    """Faces as the network takes them, (N, S, S, 3) uint8, with a name each."""

    images: NDArray[np.uint8]
    names: list[str]


class WeightsFile(NamedTuple):
    """A file of weights, and what to call it in messages."""

    path: Path
    name: str


def find_weights(weights: StrPath | None, report: Report) -> WeightsFile:
    """Return the file that `weights` names; by default the workspace's, or the shipped one if there is no `vae.safetensors`.

    "faces-32" names the shipped weights, unless there is a file of that name. A file that is named need not exist.

    Raises:
        DataError: the shipped weights are wanted, and missing or damaged.
    """
    if weights is not None:
        if names_shipped(weights):
            return WeightsFile(shipped_weights(), SHIPPED_NAME)
        return WeightsFile(Path(weights), str(weights))
    if WEIGHTS_FILE.exists() or WEIGHTS_FILE.is_symlink():
        return WeightsFile(WEIGHTS_FILE, str(WEIGHTS_FILE))
    found = WeightsFile(shipped_weights(), SHIPPED_NAME)
    report(Notice(f"There is no {WEIGHTS_FILE} here: using the weights shipped with facevae ({SHIPPED_NAME})."))
    return found


def load_model(weights: StrPath | None, device: str, report: Report) -> FaceModel:
    """Return the model that `find_weights` finds, on the device of that name.

    Raises:
        DataError: there is no such file, or it is damaged or no weights.
        UsageError: there is no such device.
    """
    place = resolve_device(device)
    path, name = find_weights(weights, report)
    return FaceModel.load(path, place, name=name)


def check_size(faces: Faces, model: FaceModel) -> None:
    """Raise a `MismatchError` unless the faces are of the size that the model takes."""
    if faces.image_size != model.image_size:
        raise MismatchError(
            f"{faces.path} holds faces of {faces.image_size} x {faces.image_size} pixels, but {model.name} takes "
            f"{model.image_size} x {model.image_size}: "
            f"prepare them with --size {model.image_size}, or name other weights."
        )


def decode_rows(
    model: FaceModel, latents: NDArray[np.float32], stage: str, unit: str, report: Report
) -> NDArray[np.uint8]:
    """Return what latents (R, K, latent_dim) decode to, (R, K, S, S, 3), reporting each row."""
    rows = []
    for number, row in enumerate(latents, start=1):
        rows.append(model.decode(row))
        report(Progress(stage, number, len(latents), unit))
    return np.stack(rows)


def tile_size(size: int, scale: int | None) -> int:
    """Return how many pixels a face of `size` takes in a picture: `scale` times as many, by default about 96 in all.

    Raises:
        UsageError: the scale is out of range.
    """
    if scale is None:
        scale = max(1, PICTURE_SCALE * ModelConfig.image_size // size)
    if not 1 <= scale <= 32:
        raise UsageError(f"A scale of {scale} is out of range: use a whole number from 1 to 32.")
    return size * scale
