"""`neighbours`: the faces of a latents file that are nearest to a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from facevae.config import FACES_FILE, LATENTS_FILE, METRICS, NEIGHBOURS_COUNT
from facevae.errors import DataError, UsageError
from facevae.figures.neighbours import neighbour_grid
from facevae.figures.picture import check_image_name, image_bytes
from facevae.model.encoder import Floats, Images
from facevae.model.nearest import Nearest, NearestSearch, check_metric
from facevae.progress import Progress, Report, silent
from facevae.storage.latents import Latents
from facevae.storage.output import StrPath, as_output, check_output, output_name, write_bytes
from facevae.workflows.common import load_model, tile_size
from facevae.workflows.face_finding import FaceChoice, FaceOptions
from facevae.workflows.face_loading import load_faces
from facevae.workflows.latents_faces import row_of, short_face_name, shown_faces
from facevae.workflows.picture_sources import as_sources
from facevae.workflows.upscalers import FaceUpscaling, check_upscale

_READ_LATENTS = 8192
_MAX_COUNT = 10_000
_MAX_QUERIES = 200
_MAX_TILES = 2_000


class Neighbour(NamedTuple):
    """A face of the latents file: its name, how far it is from the query, and its row."""

    name: str
    distance: float
    row: int


class Neighbourhood(NamedTuple):
    """A query by its name, and its neighbours, the nearest first."""

    query: str
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True)
class NeighboursResult:
    """What `neighbours` found: for each query its neighbours, by `metric`; `path` is the picture, None for none or a stream."""

    path: Path | None
    metric: str
    queries: tuple[Neighbourhood, ...]


def neighbours(
    images: Sequence[StrPath | bytes] | StrPath | bytes | None = None,
    output: StrPath | BinaryIO | None = None,
    *,
    name: Sequence[str] | str | None = None,
    latents: StrPath = LATENTS_FILE,
    count: int = NEIGHBOURS_COUNT,
    metric: str = METRICS[0],
    faces: StrPath = FACES_FILE,
    align: bool = True,
    which: FaceChoice = None,
    scale: int | None = None,
    upscale: int | None = None,
    upscaler: StrPath | None = None,
    weights: StrPath | None = None,
    device: str = "auto",
    report: Report = silent,
) -> NeighboursResult:
    """Find the faces of a latents file whose posterior means are nearest to those of the given faces.

    Args:
        images: image files, or the bytes of images. One that is in the latents file too finds itself first.
        output: a picture of the queries and their neighbours, or a binary stream for a PNG; by default none is made.
        name: faces of the latents file, by their names there, to look for too; these do not find themselves.
        latents: the latents file.
        count: how many neighbours of each.
        metric: "cosine" or "euclidean", see `config.METRICS`.
        faces: the prepared faces that the latents were made from, for the picture; without them, it shows what the latents
            decode to.
        align: find the faces of pictures that are not CelebA's frames and bring them there; False takes every picture as a frame.
        which: of a picture with several faces, 1 for the largest, 2 for the next, ..., or "all"; by default the largest.
        scale: how many times to enlarge a face, by default to about 96 pixels.
        upscale: enlarge faces 2, 3 or 4 times with VDSR, in place of `scale`.
        upscaler: what enlarges decoded faces: a file, by default the workspace's `upscaler-reconstructions.safetensors`, or
            the shipped one if it has none. Faces that were not decoded are enlarged as photographs.
        weights: the weights file; by default the workspace's, or the shipped ones if it has none.
        device: auto, cpu, cuda or mps.
        report: is called with progress and notices.

    Raises:
        DataError: a file is missing or damaged.
        MismatchError: the latents were made by other weights.
        UsageError: no face is given, or there is none of that name, or a value is out of range.
    """
    sources = as_sources(images) if images is not None else []
    names = [name] if isinstance(name, str) else list(name) if name is not None else []
    target, latents, faces = as_output(output) if output is not None else None, Path(latents), Path(faces)
    _check_values(len(sources) + len(names), count, metric, drawn=target is not None)
    options = FaceOptions.of(align, which, sources or None)
    check_upscale(upscale, upscaler, scale)
    if target is not None:
        check_image_name(output_name(target))
        inputs = [latents, faces, *(face for face in sources if isinstance(face, Path))]
        check_output(target, inputs=inputs)
    model = load_model(weights, device, report)
    loaded = load_faces(sources, model.image_size, options, report)
    _check_values(len(loaded) + len(names), count, metric, drawn=target is not None)
    given = [face.image for face in loaded]
    with Latents(latents) as opened:
        opened.check_made_by(model.hash(), model.name)
        rows = [row_of(each, opened) for each in names]
        encoded = [model.encode(np.stack(given))[0]] if given else []
        wanted = np.concatenate([*encoded, *(opened.mean(row, row + 1) for row in rows)])
        found = _search(opened, wanted, count, metric, [-1] * len(given) + rows, report)
        queries = _named(opened, [*(face.name for face in loaded), *names], found)
        if target is not None:
            side = tile_size(model.image_size, upscale or scale)
            of_photographs = FaceUpscaling.load(upscale, None, "photographs", device, report)
            of_decoded = FaceUpscaling.load(upscale, upscaler, "reconstructions", device, report)
            both = [*rows, *found.rows.ravel().tolist()]
            shown, decoded = shown_faces(opened, both, faces, model, report, "the neighbours")
            shown = (of_decoded if decoded else of_photographs).all(shown)
            heads = [*(of_photographs.each(np.stack(given)) if given else ()), *shown[: len(rows)]]
            picture = _picture(queries, np.stack(heads), shown[len(rows) :], metric, decoded, side)
            write_bytes(target, image_bytes(picture, output_name(target)))
    return NeighboursResult(target if isinstance(target, Path) else None, metric, queries)


def _check_values(queries: int, count: int, metric: str, *, drawn: bool) -> None:
    if not queries:
        raise UsageError(
            "There is no face to find neighbours of: name an image file, or a face of the latents with --name."
        )
    if queries > _MAX_QUERIES:
        raise UsageError(f"{queries} faces are too many at once: name up to {_MAX_QUERIES}.")
    if not 1 <= count <= _MAX_COUNT:
        raise UsageError(f"{count} neighbours cannot be looked for: ask for 1 to {_MAX_COUNT:,}.")
    if drawn and queries * (count + 1) > _MAX_TILES:
        raise UsageError(
            f"{queries * (count + 1):,} faces do not fit into one picture, but {_MAX_TILES:,}: ask for fewer neighbours, or "
            "leave -o out."
        )
    check_metric(metric)


def _search(latents: Latents, wanted: Floats, count: int, metric: str, leave_out: list[int], report: Report) -> Nearest:
    search = NearestSearch(wanted, count, metric, np.array(leave_out, dtype=np.int64))
    for start in range(0, latents.count, _READ_LATENTS):
        means = latents.mean(start, start + _READ_LATENTS)
        search.add(means)
        report(Progress("neighbours", start + len(means), latents.count, "latents"))
    found = search.result()
    if not found.rows.size:
        raise DataError(f"{latents.path} holds no other face to find: encode more faces.")
    return found


def _named(latents: Latents, queries: Sequence[str], found: Nearest) -> tuple[Neighbourhood, ...]:
    return tuple(
        Neighbourhood(
            query,
            tuple(
                Neighbour(latents.names[row], distance, row)
                for row, distance in zip(rows.tolist(), distances.tolist(), strict=True)
            ),
        )
        for query, rows, distances in zip(queries, found.rows, found.distances, strict=True)
    )


def _picture(
    queries: Sequence[Neighbourhood], heads: Images, shown: Images, metric: str, decoded: bool, side: int
) -> Image.Image:
    """Draw the queries as `heads` (Q, S, S, 3) and their neighbours as `shown` (Q n, S, S, 3)."""
    captions = [
        [f"{short_face_name(face.name)}\n{face.distance:.3f}" for face in query.neighbours] for query in queries
    ]
    subtitle = f"{metric.replace('eu', 'Eu')} distance between posterior means"
    if decoded:
        subtitle += ", the neighbours as decoded"
    names = [short_face_name(query.query) for query in queries]
    tiles = shown.reshape(len(queries), -1, *shown.shape[1:])
    return neighbour_grid(heads, names, tiles, captions, subtitle, side)
