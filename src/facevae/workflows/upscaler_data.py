"""What the upscaler learns from, and what it is measured on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from facevae.config import UPSCALE_FACTOR, UPSCALE_FACTORS, UPSCALER_FACES_SIZE, UpscalerInputs
from facevae.errors import DataError, MismatchError
from facevae.model.inference import to_images, to_tensor
from facevae.model.resampling import resized
from facevae.model.upscaler_training import Pairs, PhotographPairs, ReconstructionPairs
from facevae.progress import Notice, Progress, Report
from facevae.storage.faces import Faces
from facevae.storage.weights import FaceModel

HELD_OUT_EVERY = 10
"""Where no face is of the valid split, every tenth of the others is held out."""
MEASURED_AT_MOST = 200
"""Faces that the gain is measured on after each epoch, spread over all that are held out."""
_SMALLEST = 8
"""Pixels a side that a reduced face must have left."""
_BATCH = 512


class UpscalerData(NamedTuple):
    """Pairs to learn from and to measure on, and how many faces each has."""

    train: Pairs
    held_out: Pairs


def split_rows(faces: Faces, report: Report) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the faces to learn from, and of those held out: the splits train and valid, or parts of train.

    Raises:
        DataError: there are too few.
    """
    train, valid = faces.rows_of("train"), faces.rows_of("valid")
    if len(train) and len(valid):
        return train, valid
    held_out = np.arange(len(train)) % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
    train, valid = train[~held_out], train[held_out]
    if not len(valid):
        raise DataError(f"{faces.path} holds too few faces: training needs at least {HELD_OUT_EVERY}. Prepare more.")
    report(
        Notice(
            f"{faces.path} has no valid split: every {HELD_OUT_EVERY}th face, {len(valid):,} in all, is held out to "
            "measure the gain on."
        )
    )
    return train, valid


def upscaler_data(faces: Faces, inputs: UpscalerInputs, model: FaceModel | None, report: Report) -> UpscalerData:
    """Return the pairs that the faces give: reduced and enlarged, or reconstructed by `model` and enlarged.

    Raises:
        DataError: there are too few faces.
        MismatchError: they are too small.
    """
    _check_size(faces, model)
    train, valid = split_rows(faces, report)
    spread = np.unique(np.linspace(0, len(valid) - 1, min(MEASURED_AT_MOST, len(valid))).round().astype(int))
    sides = faces.images_at(train), faces.images_at(valid[spread])
    if inputs == "photographs" or model is None:
        return UpscalerData(*(PhotographPairs(torch.from_numpy(side)) for side in sides))
    return UpscalerData(
        *(
            ReconstructionPairs(torch.from_numpy(reconstructed(side, model, report)), torch.from_numpy(side))
            for side in sides
        )
    )


def _check_size(faces: Faces, model: FaceModel | None) -> None:
    least = _SMALLEST * max(UPSCALE_FACTORS) if model is None else 2 * model.image_size
    wanted = UPSCALER_FACES_SIZE if model is None else UPSCALE_FACTOR * model.image_size
    if faces.image_size < least:
        why = "too few to be reduced" if model is None else f"too few beside the {model.image_size} of {model.name}"
        raise MismatchError(
            f"{faces.path} holds faces of {faces.image_size} x {faces.image_size} pixels, {why}: prepare faces with "
            f"--size {wanted}."
        )


def reconstructed(images: NDArray[np.uint8], model: FaceModel, report: Report) -> NDArray[np.uint8]:
    """Return what the model makes of images (N, S, S, 3), reduced to its size V as `prepare` reduces them: (N, V, V, 3)."""
    size, parts = model.image_size, []
    for start in range(0, len(images), _BATCH):
        reduced = resized(to_tensor(images[start : start + _BATCH], torch.device("cpu")), size, size, "bilinear")
        mean, _ = model.encode(to_images(reduced))
        parts.append(model.decode(mean))
        report(Progress("reconstruct", min(start + _BATCH, len(images)), len(images), "faces"))
    return np.concatenate(parts)
