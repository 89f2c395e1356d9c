"""Faces of a latents file by their names there, and what they look like: as prepared, or else as decoded."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from facevae.errors import UsageError, did_you_mean
from facevae.progress import Notice, Report
from facevae.storage.closing import Closing
from facevae.storage.faces import Faces
from facevae.storage.latents import Latents

if TYPE_CHECKING:  # PyTorch takes seconds, and what is shown from the prepared faces needs none
    from facevae.storage.weights import FaceModel

Images = NDArray[np.uint8]

_NAMES_LOOKED_AT = 2_000
_FACE_OF_SEVERAL = re.compile(r"(?P<picture>.+)#(?P<number>[0-9]+)", re.DOTALL)


def row_of(name: str, latents: Latents) -> int:
    """Return the row of the face of that name.

    Raises:
        UsageError: there is none.
    """
    try:
        return latents.names.index(name)
    except ValueError:
        # Of a few names only: the comparison of one with 200,000 others takes seconds.
        alike = [known for known in latents.names if name in known] or latents.names
        hint = did_you_mean(name, alike[:_NAMES_LOOKED_AT]) or f" Its names are such as {latents.names[0]}."
        raise UsageError(f"There is no face {name} in {latents.path}.{hint}") from None


class OriginalFaces(Closing):
    """The open prepared faces that latents were made from, by the rows of the latents."""

    def __init__(self, faces: Faces, first: int) -> None:
        """Take over `faces`, of which the row `first` is that of the latents' first."""
        self._faces, self._first = faces, first

    def read(self, rows: Sequence[int]) -> Images:
        """Return the faces (N, S, S, 3) of at least one row.

        Raises:
            DataError: the file is damaged, or was changed meanwhile.
        """
        first = self._first
        starts = [0, *(place for place in range(1, len(rows)) if rows[place] != rows[place - 1] + 1)]
        # Rows that follow each other in one go, and nothing between others: that may be more than fits into memory.
        runs = [rows[start:stop] for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True)]
        return np.concatenate([self._faces.read(first + run[0], first + run[-1] + 1) for run in runs])

    def close(self) -> None:
        """Close the file."""
        self._faces.close()


def open_originals(latents: Latents, faces: Path) -> OriginalFaces | None:
    """Return the prepared faces of latents; None where `faces` is not what they were made from.

    Raises:
        DataError: `faces` is damaged.
    """
    if not latents.faces_fingerprint or not faces.exists():
        return None
    opened = Faces(faces)
    if opened.fingerprint != latents.faces_fingerprint:
        opened.close()
        return None
    return OriginalFaces(opened, latents.shard.rows.start if latents.shard is not None else 0)


def originals_of(latents: Latents, rows: Sequence[int], faces: Path) -> Images | None:
    """Return the prepared faces (N, S, S, 3) of some rows of the latents; None where `faces` is not what they were made from.

    Raises:
        DataError: `faces` is damaged.
    """
    originals = open_originals(latents, faces)
    if originals is None:
        return None
    with originals:
        return originals.read(rows)


def why_no_originals(latents: Latents, faces: Path) -> str:
    """Return why there are no prepared faces of the latents, as a sentence without its full stop."""
    if not latents.faces_fingerprint:
        return f"{latents.path} was made from single images, not from prepared faces"
    return f"There is no {faces} with the faces of {latents.path}"


def shown_faces(
    latents: Latents, rows: Sequence[int], faces: Path, model: FaceModel, report: Report, what: str
) -> tuple[Images, bool]:
    """Return faces of the latents as they are shown, and whether they had to be decoded, for want of the prepared ones.

    Args:
        latents: the latents, made by `model`.
        rows: of the faces, at least one.
        faces: where the prepared faces would be.
        model: decodes.
        report: is told where they had to be decoded.
        what: what to call them there, in the plural.

    Raises:
        DataError: `faces` is damaged.
    """
    originals = originals_of(latents, rows, faces)
    if originals is not None:
        return originals, False
    report(Notice(f"{why_no_originals(latents, faces)}: {what} are shown as decoded from their latents."))
    return model.decode(np.concatenate([latents.mean(row, row + 1) for row in rows])), True


def short_face_name(name: str) -> str:
    """Return what to call a face of latents in a picture: "photo #2" for "folder/photo.jpg#2"."""
    one = _FACE_OF_SEVERAL.fullmatch(name)
    picture, number = (one["picture"], f" #{one['number']}") if one is not None else (name, "")
    return " ".join(Path(picture).stem.split()) + number
