"""What several workflows need: the model of the workspace, and faces read from image files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.config import PICTURE_SCALE, WEIGHTS_FILE, ModelConfig
from facevae.errors import DataError, MismatchError, UsageError
from facevae.model.device import resolve_device
from facevae.progress import Notice, Progress, Report
from facevae.storage.faces import Faces
from facevae.storage.images import load_face
from facevae.storage.output import StrPath
from facevae.storage.shipped import SHIPPED_NAME, names_shipped, shipped_weights
from facevae.storage.weights import FaceModel
from facevae.workflows.skipped import Skipped

Face = Path | bytes
"""A face picture: a file, or the bytes of one (as read from standard input)."""

STDIN_NAME = "stdin"


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


def as_face(face: StrPath | bytes) -> Face:
    """Return a face named by a string as a path."""
    return Path(face) if isinstance(face, str) else face


def as_faces(faces: Sequence[StrPath | bytes] | StrPath | bytes) -> list[Face]:
    """Return faces named by strings as paths; a single one is a list of one."""
    if isinstance(faces, str | Path | bytes):
        return [as_face(faces)]
    return [as_face(face) for face in faces]


def face_name(face: Face) -> str:
    """Return what to call a face in messages and files: its path, or "stdin" for bytes."""
    return str(face) if isinstance(face, Path) else STDIN_NAME


def short_name(face: Face) -> str:
    """Return what to call a face in a picture: its file name without folder and suffix."""
    return face.stem if isinstance(face, Path) else STDIN_NAME


def load_faces(faces: Sequence[Face], size: int) -> NamedImages:
    """Return every face resized to (size, size), named as in a picture.

    Raises:
        DataError: one of them is not a readable image.
    """
    images = [load_face(face, size, face_name(face)) for face in faces]
    return NamedImages(np.stack(images), [short_name(face) for face in faces])


def load_batches(
    faces: Iterable[Face], size: int, batch_size: int, skipped: list[Skipped], *, strict: bool
) -> Iterator[NamedImages]:
    """Yield the faces resized, in batches; unreadable ones are added to `skipped`, or raised when `strict`."""
    images: list[NDArray[np.uint8]] = []
    names: list[str] = []
    for face in faces:
        try:
            images.append(load_face(face, size, face_name(face)))
        except DataError as error:
            if strict:
                raise
            skipped.append(Skipped(face_name(face), str(error)))
            continue
        names.append(face_name(face))
        if len(images) == batch_size:
            yield NamedImages(np.stack(images), names)
            images, names = [], []
    if images:
        yield NamedImages(np.stack(images), names)


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
