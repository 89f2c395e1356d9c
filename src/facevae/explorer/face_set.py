"""What is on the map: the faces of a latents file, or random faces of the prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facevae.errors import DataError, FacevaeError
from facevae.explorer.face_refs import FaceRef, RandomFace, RowFace
from facevae.model.encoder import Floats
from facevae.storage.judge_file import AttributeJudge
from facevae.storage.latents import Latents
from facevae.storage.shipped import shipped_judge
from facevae.storage.weights import FaceModel
from facevae.workflows.latents_faces import OriginalFaces, open_originals, why_no_originals

_JUDGED_AT_A_TIME = 512


@dataclass(frozen=True)
class FaceSet:
    """N faces.

    Attributes:
        kind: whether they are of latents, or random.
        path: the latents file.
        mean: their latents, float32 (N, latent_dim).
        names: N names.
        split: uint8 (N), or None.
        attribute_names: A names, empty where there are none.
        has: whether a face has an attribute, (N, A), or None.
        why_no_attributes: a sentence where there are none.
        originals: the prepared faces, or None.
        why_no_originals: a sentence where there are none.
        weights_hash: of the weights that made the latents.
    """

    kind: Literal["latents", "random"]
    path: Path | None
    mean: Floats
    names: list[str]
    weights_hash: str
    split: NDArray[np.uint8] | None = None
    attribute_names: tuple[str, ...] = ()
    has: NDArray[np.bool_] | None = None
    why_no_attributes: str | None = None
    originals: OriginalFaces | None = None
    why_no_originals: str | None = None

    @property
    def count(self) -> int:
        """N."""
        return len(self.mean)

    def same_face(self, row: int) -> FaceRef:
        """Return what else names the face of a row: of a random one what it is drawn from."""
        return random_face(row) if self.kind == "random" else RowFace(row)

    def close(self) -> None:
        """Close the file of the originals."""
        if self.originals is not None:
            self.originals.close()


def faces_of_latents(path: Path, model: FaceModel, faces: Path) -> FaceSet:
    """Return the faces of a latents file that `model` made, with their originals where these are in `faces`.

    Raises:
        DataError: the latents are missing, damaged or empty.
        MismatchError: other weights made them.
    """
    with Latents(path) as latents:
        latents.check_made_by(model.hash(), model.name)
        if not latents.count:
            raise DataError(f"{path} holds no latents: encode some faces.")
        mean, attributes = latents.mean(), latents.attributes
        originals, why = _find_originals(latents, faces)
        return FaceSet(
            "latents",
            path,
            mean,
            latents.names,
            latents.weights_hash,
            latents.split,
            latents.attribute_names,
            attributes > 0 if attributes is not None else None,
            None if attributes is not None else f"{path} holds no attributes.",
            originals,
            why,
        )


def _find_originals(latents: Latents, faces: Path) -> tuple[OriginalFaces | None, str | None]:
    try:
        originals = open_originals(latents, faces)
    except DataError as error:
        return None, str(error)
    return (
        originals,
        None if originals is not None else f"{why_no_originals(latents, faces)}: faces are shown as decoded.",
    )


def random_face(row: int) -> RandomFace:
    """Return what the face of a row is drawn from where faces are random."""
    return RandomFace(row + 1, 1.0)


def random_faces(model: FaceModel, count: int) -> FaceSet:
    """Return `count` faces of the prior, each drawn with a seed of its own, so that a command line can draw any of them."""
    drawn = [random_face(row) for row in range(count)]
    mean = np.concatenate([model.draw(1, seed=face.seed, temperature=face.temperature) for face in drawn])
    names = [f"random {face.seed}" for face in drawn]
    why = "The faces on the map are drawn at random: there are no photographs of them."
    return FaceSet("random", None, mean, names, model.hash(), why_no_originals=why)


def judged(model: FaceModel, faces: FaceSet, stopped: Callable[[], bool] = lambda: False) -> FaceSet:
    """Return faces with the attributes that the shipped judge sees in them, or why it has none; it may be stopped."""
    logits: list[NDArray[np.float32]] = []
    try:
        judge = AttributeJudge.load(shipped_judge())
        for start in range(0, faces.count, _JUDGED_AT_A_TIME):
            if stopped():
                return faces
            decoded = model.decode(faces.mean[start : start + _JUDGED_AT_A_TIME])
            logits.append(judge.look(decoded).logits)
    except FacevaeError as error:
        return replace(faces, why_no_attributes=str(error))
    return replace(faces, attribute_names=judge.attribute_names, has=np.concatenate(logits) > 0.0)
