"""The faces that `morph` moves: of pictures, of latents by their names there, and drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facevae.config import FACES_FILE, LATENTS_FILE
from facevae.errors import DataError, UsageError
from facevae.model.encoder import Floats, Images
from facevae.progress import Report
from facevae.storage.latents import Latents
from facevae.storage.output import StrPath
from facevae.storage.weights import FaceModel
from facevae.workflows.draws import check_seed, check_temperature
from facevae.workflows.face_finding import FaceOptions
from facevae.workflows.face_loading import LoadedFace, load_faces, named_images
from facevae.workflows.latents_faces import row_of, short_face_name, shown_faces
from facevae.workflows.picture_sources import PictureSource, as_sources
from facevae.workflows.skipped import Skipped, all_skipped, report_skipped


@dataclass(frozen=True)
class WantedFaces:
    """The faces that were asked for.

    Attributes:
        pictures: pictures, to be encoded.
        names: of faces of the latents `among`.
        among: the latents.
        seeds: one for each face that is to be drawn.
        temperature: of those.
    """

    pictures: list[PictureSource]
    names: list[str]
    among: Path
    seeds: list[int]
    temperature: float

    @classmethod
    def of(
        cls,
        faces: Sequence[StrPath | bytes] | StrPath | bytes | None,
        name: Sequence[str] | str | None,
        among: StrPath | None,
        sample: Sequence[int] | int | None,
        temperature: float | None,
    ) -> WantedFaces:
        """Make them of the arguments of `morph`.

        Raises:
            UsageError: there is no face, a value is out of range, or an option goes with another that is not given.
        """
        pictures = as_sources(faces) if faces is not None else []
        names = [name] if isinstance(name, str) else list(name or ())
        seeds = [sample] if isinstance(sample, int) else list(sample or ())
        if not pictures and not names and not seeds:
            raise UsageError(
                "There is no face to morph: name an image file, or a face of the latents with --name, or draw one with --sample."
            )
        if among is not None and not names:
            raise UsageError("--among says in which latents the face of --name is: give a name, or leave it out.")
        if temperature is not None and not seeds:
            raise UsageError(
                "--temperature is about faces drawn with --sample: give it a seed, or leave --temperature out."
            )
        temperature = 1.0 if temperature is None else temperature
        check_temperature(temperature)
        for seed in seeds:
            check_seed(seed)
        return cls(pictures, names, Path(LATENTS_FILE if among is None else among), seeds, temperature)

    @property
    def count(self) -> int:
        """How many faces they are, if each picture has one."""
        return len(self.pictures) + len(self.names) + len(self.seeds)

    @property
    def inputs(self) -> list[Path]:
        """The files that are read."""
        pictures = [picture for picture in self.pictures if isinstance(picture, Path)]
        return [*pictures, *([self.among, FACES_FILE] if self.names else ())]


class FoundFaces(NamedTuple):
    """The N faces that are moved: those of pictures, then those of latents, then those drawn.

    Attributes:
        names: what to call them in a picture.
        latents: float32 (N, latent_dim): posterior means, or as drawn.
        originals: uint8 (N, S, S, 3): the faces before they are moved; None where these are not shown.
        decoded: of each, whether its original is what its latent decodes to, for want of another.
        loaded: those of pictures.
        skipped: pictures that were left out.
    """

    names: list[str]
    latents: Floats
    originals: Images | None
    decoded: list[bool]
    loaded: list[LoadedFace]
    skipped: list[Skipped]


class _Part(NamedTuple):
    """Some of the faces, of one kind."""

    names: list[str]
    latents: Floats
    originals: Images | None
    decoded: bool


def find_faces(
    wanted: WantedFaces, model: FaceModel, options: FaceOptions, *, strict: bool, with_originals: bool, report: Report
) -> FoundFaces:
    """Load, look up and draw the faces that are wanted.

    Args:
        wanted: which they are.
        model: encodes pictures, draws, and decodes where there is no original.
        options: which faces of pictures.
        strict: whether a picture that cannot be read is an error, instead of being left out; a single one is in any case.
        with_originals: whether the faces are to be shown before they are moved.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing or damaged, or holds no face.
        MismatchError: the latents were made by other weights.
        UsageError: there is no face of that name.
    """
    named = [_named(wanted, model, with_originals, report)] if wanted.names else []
    skipped: list[Skipped] = []
    loaded = load_faces(wanted.pictures, model.image_size, options, report, None if strict else skipped)
    if not loaded and skipped and not (wanted.names or wanted.seeds):
        raise DataError(all_skipped(skipped))
    parts = [_encoded(loaded, model)] if loaded else []
    parts += named
    parts += [_drawn(seed, wanted.temperature, model) for seed in wanted.seeds]
    report_skipped(skipped, report)
    originals = [part.originals for part in parts if part.originals is not None]
    return FoundFaces(
        [name for part in parts for name in part.names],
        np.concatenate([part.latents for part in parts]),
        np.concatenate(originals) if with_originals else None,
        [part.decoded for part in parts for _ in part.names],
        loaded,
        skipped,
    )


def _encoded(loaded: Sequence[LoadedFace], model: FaceModel) -> _Part:
    images, names = named_images(loaded)
    return _Part(names, model.encode(images)[0], images, decoded=False)


def _named(wanted: WantedFaces, model: FaceModel, with_originals: bool, report: Report) -> _Part:
    with Latents(wanted.among) as latents:
        latents.check_made_by(model.hash(), model.name)
        rows = [row_of(name, latents) for name in wanted.names]
        means = np.concatenate([latents.mean(row, row + 1) for row in rows])
        originals, decoded = None, False
        if with_originals:
            originals, decoded = shown_faces(latents, rows, FACES_FILE, model, report, "its faces")
    return _Part([short_face_name(name) for name in wanted.names], means, originals, decoded)


def _drawn(seed: int, temperature: float, model: FaceModel) -> _Part:
    # One at a time, as the numbers of a draw depend on how many there are.
    latents = model.draw(1, seed=seed, temperature=temperature)
    return _Part([f"random {seed}"], latents, model.decode(latents), decoded=True)
