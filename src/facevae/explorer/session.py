"""What the explorer does, without HTTP: numbers and arrays in, arrays and plain values out. Several threads may ask at once."""

from __future__ import annotations

import secrets
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from facevae.config import UPSCALE_FACTORS, UpscalerInputs
from facevae.errors import DataError, FacevaeError, UsageError
from facevae.explorer.edits import Edit
from facevae.explorer.face_map import FaceMap
from facevae.explorer.face_refs import FaceRef, MeanFace, PhotoFace, RandomFace, RowFace, UnknownFaceError
from facevae.explorer.face_set import FaceSet
from facevae.explorer.kept import GivenPhoto, Kept, KeptMean, PhotoReader
from facevae.explorer.named import CachedDirections
from facevae.model.encoder import Floats, Images
from facevae.model.interpolation import linear
from facevae.model.latent_space import walk
from facevae.model.nearest import NearestSearch
from facevae.progress import Event, Notice, Report, silent
from facevae.storage.upscaler_file import Upscaler
from facevae.storage.weights import FaceModel
from facevae.workflows.draws import check_seed, check_temperature
from facevae.workflows.moving import Movement, find_movement
from facevae.workflows.upscalers import FaceUpscaling, load_upscaler

METRIC = "cosine"
_READ_LATENTS = 8192
_LARGEST_SIDE = 768
"""Pixels of the side of an enlarged face: a larger one takes seconds."""
_MOST_STEPS = 200


class Notices:
    """A `report` that keeps the notices for the page, in `texts`, and passes everything on."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.texts: list[str] = []

    def __call__(self, event: Event) -> None:
        """Keep and pass on."""
        if isinstance(event, Notice) and event.text not in self.texts:
            self.texts.append(event.text)
        self._report(event)


class Session:
    """A model, the faces on the map, and what was added to them since.

    Attributes:
        model: encodes and decodes.
        faces: what is on the map; replaced as a whole where their attributes come later.
        map: where they are.
        directions: what the sliders add; None where there are none, for which see `why_no_sliders`.
        attributes_pending: whether the attributes of `faces` are still to come.
        notices: hears what the page is to show.
        id: of this session alone.
    """

    def __init__(
        self,
        model: FaceModel,
        faces: FaceSet,
        face_map: FaceMap,
        *,
        device: str = "auto",
        notices: Notices | None = None,
    ) -> None:
        self.model, self.faces, self.map = model, faces, face_map
        self.notices = notices or Notices(silent)
        self.attributes_pending = False
        self.id = secrets.token_hex(8)
        self._device = device
        self._photos = Kept[GivenPhoto]("photo", "give the picture again")
        self._means = Kept[KeptMean]("mean", "select the faces again")
        self._reader = PhotoReader(model)
        self.directions, self.why_no_sliders = _directions_of(model)
        self._upscaler = lru_cache(maxsize=None)(self._load_upscaler)
        self._drawn = lru_cache(maxsize=256)(self._draw)

    @property
    def factors(self) -> tuple[int, ...]:
        """The factors by which faces can be enlarged."""
        return tuple(factor for factor in UPSCALE_FACTORS if factor * self.model.image_size <= _LARGEST_SIDE)

    def attribute_bits(self) -> bytes:
        """Return a row of bits for each attribute: whether each face has it, the first in the lowest bit."""
        has = self.faces.has
        return np.packbits(has.T, axis=1, bitorder="little").tobytes() if has is not None else b""

    def name_of(self, face: FaceRef) -> str:
        """Return what to call a face."""
        if isinstance(face, RowFace):
            self.check_row(face.row)
            return self.faces.names[face.row]
        if isinstance(face, PhotoFace):
            return self._photos[face.number].name
        if isinstance(face, MeanFace):
            return self._means[face.number].name
        return f"random {face.seed}"

    def find(self, text: str, limit: int) -> tuple[list[int], bool]:
        """Return rows whose names hold a text, without regard to case, the likeliest first; and whether there are more."""
        wanted = text.strip().casefold()
        ranks: tuple[list[int], list[int], list[int]] = ([], [], [])
        if wanted:
            for row, name in enumerate(self.faces.names):
                folded = name.casefold()
                if wanted in folded:
                    ranks[0 if folded == wanted else 1 if folded.startswith(wanted) else 2].append(row)
        rows = [row for rank in ranks for row in rank]
        return rows[:limit], len(rows) > limit

    def names_of(self, rows: NDArray[np.integer]) -> list[str]:
        """Return the names of rows.

        Raises:
            UsageError: there is no such row, or they are more than there are faces.
        """
        self._check_rows(rows)
        if len(rows) > self.faces.count:
            raise UsageError(f"{len(rows):,} rows are more than the {self.faces.count:,} faces on the map.")
        return [self.faces.names[row] for row in rows.tolist()]

    # Latents.

    def latent(self, face: FaceRef) -> Floats:
        """Return the latent of a face, float32 (latent_dim).

        Raises:
            UnknownFaceError: there is none.
        """
        if isinstance(face, RowFace):
            self.check_row(face.row)
            mean: Floats = self.faces.mean[face.row]
            return mean
        if isinstance(face, PhotoFace):
            return self._photos[face.number].latent
        if isinstance(face, MeanFace):
            return self._means[face.number].latent
        return self._drawn(face)

    def _draw(self, face: RandomFace) -> Floats:
        drawn: Floats = self.model.draw(1, seed=face.seed, temperature=face.temperature)[0]
        return drawn

    def movement(self, edit: Edit) -> Movement:
        """Return what an edit adds to its face.

        Raises:
            DataError: a direction is not known.
            UsageError: nothing is moved, or there is no such attribute, or one is both moved and kept.
        """
        if not edit.moves:
            raise UsageError("Nothing is moved yet: move a slider first.")
        if self.directions is None:
            raise DataError(self.why_no_sliders or "")
        return find_movement(self.directions, edit.moves, edit.keep, "mean", silent)

    def moved(self, edit: Edit) -> Floats:
        """Return the latent of an edited face, float32 (latent_dim)."""
        latent = self.latent(edit.face)
        if not edit.moves:
            return latent
        delta = self.movement(edit).delta
        moved: Floats = walk(latent[None], delta, np.ones(1, dtype=np.float32))[0, 0]
        return moved

    # Pictures.

    def decode(self, edit: Edit, upscale: int = 0) -> Images:
        """Return an edited face, uint8 (S, S, 3), or enlarged so many times."""
        face: Images = self.enlarged(self.model.decode(self.moved(edit)[None]), upscale, "reconstructions")[0]
        return face

    def original(self, face: FaceRef) -> Images | None:
        """Return a face as it was encoded, uint8 (S, S, 3); None where that is not known."""
        if isinstance(face, RowFace):
            self.check_row(face.row)
            originals = self.faces.originals
            return originals.read([face.row])[0] if originals is not None else None
        return self._photos[face.number].image if isinstance(face, PhotoFace) else None

    def picture(self, face: FaceRef, kind: str, upscale: int = 0) -> Images:
        """Return the "original" of a face or its "reconstruction", uint8 (S, S, 3), or enlarged so many times.

        Raises:
            UnknownFaceError: there is no such face, or no original of it.
            UsageError: there is no such kind.
        """
        if kind == "reconstruction":
            return self.decode(Edit(face), upscale)
        if kind != "original":
            raise UsageError(f"There is no picture {kind}: use original or reconstruction.")
        original = self.original(face)
        if original is None:
            why = self.faces.why_no_originals if isinstance(face, RowFace) else None
            raise UnknownFaceError(why or f"There is no original of {self.name_of(face)}: it was not photographed.")
        shown: Images = self.enlarged(original[None], upscale, "photographs")[0]
        return shown

    def thumbnail(self, row: int) -> Images:
        """Return a face of the map, uint8 (S, S, 3): the original where it is there, else as decoded."""
        original = self.original(RowFace(row))
        return original if original is not None else self.model.decode(self.faces.mean[row][None])[0]

    def enlarged(self, faces: Images, upscale: int, inputs: UpscalerInputs) -> Images:
        """Return faces (N, S, S, 3) enlarged by VDSR; as they are where `upscale` is 0."""
        return self.upscaling(upscale, inputs).all(faces)

    def upscaling(self, upscale: int, inputs: UpscalerInputs) -> FaceUpscaling:
        """Return what enlarges faces so many times, 0 for not at all.

        Raises:
            DataError: the upscaler is missing or damaged.
            UsageError: there is no such factor for faces of this size.
        """
        if not upscale:
            return FaceUpscaling(None, 1, silent)
        if upscale not in self.factors:
            raise UsageError(
                f"Faces of {self.model.image_size} pixels are not upscaled {upscale} times here: "
                f"more than {_LARGEST_SIDE} pixels a side would take too long."
            )
        return FaceUpscaling(self._upscaler(inputs), upscale, silent)

    def _load_upscaler(self, inputs: UpscalerInputs) -> Upscaler:
        return load_upscaler(None, inputs, self._device, self.notices)

    def between(self, first: Edit, second: Edit, steps: int, upscale: int = 0) -> Images:
        """Return the faces on the straight line from one edited face to another, both included: (steps, S, S, 3)."""
        if not 2 <= steps <= _MOST_STEPS:
            raise UsageError(f"{steps} steps are out of range: use a whole number from 2 to {_MOST_STEPS}.")
        places = np.asarray((np.arange(steps) / (steps - 1)).tolist(), dtype=np.float32)
        latents = linear(self.moved(first), self.moved(second), places)
        return self.enlarged(self.model.decode(latents), upscale, "reconstructions")

    # On the map.

    def place(self, edit: Edit) -> Floats:
        """Return where an edited face belongs on the map, (2)."""
        if isinstance(edit.face, RowFace) and not edit.moves:
            self.check_row(edit.face.row)
            point: Floats = self.map.state.points[edit.face.row]
            return point
        return self.map.place(self.moved(edit))

    def neighbours(self, edit: Edit, count: int) -> list[tuple[int, float]]:
        """Return the rows nearest to an edited face with their cosine distances; a face of the map does not find itself."""
        itself = edit.face.row if isinstance(edit.face, RowFace) and not edit.moves else -1
        search = NearestSearch(self.moved(edit)[None], count, METRIC, np.array([itself]))
        for start in range(0, self.faces.count, _READ_LATENTS):
            search.add(self.faces.mean[start : start + _READ_LATENTS])
        found = search.result()
        return list(zip(found.rows[0].tolist(), found.distances[0].tolist(), strict=True))

    # What is added.

    def add_photo(self, data: bytes, name: str, *, align: bool) -> tuple[list[PhotoFace], list[str]]:
        """Take the faces of a picture in, the largest first; return what names them, and notices.

        Raises:
            DataError: it is no picture that can be read, or there is no face in it.
            MissingExtraError: a face must be found, and the extra that does it is not installed.
        """
        photos, notices = self._reader.read(data, name, align=align)
        return [PhotoFace(self._photos.add(photo)) for photo in photos], notices

    def photo(self, face: PhotoFace) -> GivenPhoto:
        """Return a picture's face that was taken in."""
        return self._photos[face.number]

    def add_random(self, temperature: float, seed: int | None = None) -> RandomFace:
        """Return what names a face drawn from the prior, with a seed of its own where none is given.

        Raises:
            UsageError: a value is out of range.
        """
        check_temperature(temperature)
        if seed is not None:
            check_seed(seed)
        return RandomFace(secrets.randbits(32) if seed is None else seed, temperature)

    def add_mean(self, rows: NDArray[np.integer]) -> MeanFace:
        """Return what names the mean of the faces in some rows.

        Raises:
            UsageError: there is none, or no such row.
        """
        self._check_rows(rows)
        unique = np.unique(rows)
        if not len(unique):
            raise UsageError("A mean is of at least one face: select some.")
        total = np.zeros(self.model.latent_dim)
        for start in range(0, len(unique), _READ_LATENTS):
            total += self.faces.mean[unique[start : start + _READ_LATENTS]].sum(axis=0, dtype=np.float64)
        latent = (total / len(unique)).astype(np.float32)
        name = "mean of 1 face" if len(unique) == 1 else f"mean of {len(unique):,} faces"
        return MeanFace(self._means.add(KeptMean(name, latent)))

    def check_row(self, row: int) -> None:
        """Raise an `UnknownFaceError` unless a row is on the map."""
        if row >= self.faces.count:
            raise UnknownFaceError(f"There is no row {row} on the map: it has {self.faces.count:,} faces, from row 0.")

    def _check_rows(self, rows: NDArray[np.integer]) -> None:
        if len(rows):
            self.check_row(int(rows.max()))

    def close(self) -> None:
        """Close what is open."""
        self.faces.close()


def _directions_of(model: FaceModel) -> tuple[CachedDirections | None, str | None]:
    try:
        directions = CachedDirections.of(model.named_directions())
    except FacevaeError as error:
        return None, str(error)
    if not directions.lengths():
        return None, f"{model.name} knows no attributes: it was trained on faces without a table of them."
    return directions, None
