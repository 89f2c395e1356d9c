"""Files of drawn faces of any size: a few hundred faces are drawn, and repeated until there are enough.

What is in the images does not matter to the time a step takes; that they are of the right shape does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facevae.config import SPLIT_CODES
from facevae.drawing import ATTRIBUTE_NAMES, attributes_of, draw_face
from facevae.drawing.dataset import drawn_traits
from facevae.storage.faces import Faces, FacesWriter
from facevae.version import __version__

CELEBA_SPLITS = {"train": 162_770, "valid": 19_867, "test": 19_962}
CELEBA_COUNT = sum(CELEBA_SPLITS.values())
SIDE = 32
_DRAWN = 400
_BATCH = 4000


def draw(count: int = _DRAWN) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Return `count` drawn faces (count, 32, 32, 3) and their attributes (count, 40) in {-1, 1}."""
    traits = [drawn_traits(0, number) for number in range(1, count + 1)]
    images = np.stack([np.asarray(draw_face(one).convert("RGB").resize((SIDE, SIDE))) for one in traits])
    attributes = np.array([[1 if has else -1 for has in attributes_of(one).values()] for one in traits], dtype=np.int8)
    return images, attributes


def write_full_size(path: Path, count: int = CELEBA_COUNT) -> Path:
    """Write a `faces.h5` as large as CelebA's (202,599 faces, forty attributes, CelebA's splits in proportion)."""
    images, attributes = draw()
    codes = np.array([SPLIT_CODES[name] for name in CELEBA_SPLITS], dtype=np.uint8)
    ends = np.cumsum(list(CELEBA_SPLITS.values())) * count // CELEBA_COUNT
    with _writer(path, ATTRIBUTE_NAMES) as writer:
        for start in range(0, count, _BATCH):
            rows = np.arange(start, min(start + _BATCH, count))
            split = codes[np.searchsorted(ends, rows, side="right")]
            writer.append(images[rows % len(images)], _names(rows), split, attributes[rows % len(images)])
        writer.finish()
    return path


def write_training_faces(path: Path, images: NDArray[np.uint8]) -> Path:
    """Write `images` (N, 32, 32, 3) as a `faces.h5` whose every face is of the split train, without attributes."""
    with _writer(path, ()) as writer:
        writer.append(images, _names(np.arange(len(images))), np.zeros(len(images), dtype=np.uint8), None)
        writer.finish()
    return path


def images_to_train_on(source: Path | None, count: int) -> NDArray[np.uint8]:
    """Return `count` images (count, S, S, 3): the first of the file `source`, or drawn ones; repeated where too few."""
    if source is None:
        images = draw(min(count, _DRAWN))[0]
    else:
        with Faces(source) as faces:
            images = faces.read(0, min(count, faces.count))
    return images[np.arange(count) % len(images)]


def _writer(path: Path, attribute_names: tuple[str, ...]) -> FacesWriter:
    return FacesWriter(
        path,
        image_size=SIDE,
        attribute_names=attribute_names,
        resize_rule="drawn and repeated for a benchmark",
        split_rule="in the order of the faces",
        source="benchmarks/drawn_faces.py",
        facevae_version=__version__,
    )


def _names(rows: NDArray[np.int64]) -> list[str]:
    return [f"{row + 1:06d}.jpg" for row in rows]
