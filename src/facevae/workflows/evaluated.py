"""What the parts of `evaluate` work on: a model, and the faces of a split with what the model makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facevae.model.encoder import Floats, Images
from facevae.progress import Report
from facevae.storage.faces import Faces
from facevae.storage.weights import FaceModel

_READ_IMAGES = 4096


@dataclass(frozen=True)
class Evaluated:
    """A model on a split.

    Attributes:
        model: the model.
        faces: all faces, open.
        split: which of them `images` are.
        images: (N, S, S, 3) uint8.
        mean: their posterior means (N, latent_dim).
        log_variance: their posterior log-variances (N, latent_dim).
        reconstructions: decoded from the means (N, S, S, 3) uint8.
        seed: of everything that is drawn.
        report: is called with progress and notices.
    """

    model: FaceModel
    faces: Faces
    split: str
    images: Images
    mean: Floats
    log_variance: Floats
    reconstructions: Images
    seed: int
    report: Report

    def attributes(self) -> NDArray[np.int8] | None:
        """Return the attributes (N, A) of the images, or None where the faces have none."""
        table = self.faces.attributes
        return table[self.faces.rows_of(self.split)] if table is not None else None  # type: ignore[arg-type]

    def random(self, stream: int) -> np.random.Generator:
        """Return a generator for one purpose, so that each draws the same whatever else is asked for."""
        return np.random.default_rng([self.seed, stream])


def read_rows(faces: Faces, rows: NDArray[np.int64]) -> Iterator[Images]:
    """Yield the images of ascending rows, some at a time."""
    for read, batch in faces.batches(_READ_IMAGES):
        wanted = rows[np.searchsorted(rows, read.start) : np.searchsorted(rows, read.stop)] - read.start
        if len(wanted):
            yield batch[wanted]


def draw_rows(rows: NDArray[np.int64], limit: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return at most `limit` of ascending rows, ascending."""
    return rows if len(rows) <= limit else np.sort(random.choice(rows, limit, replace=False))
