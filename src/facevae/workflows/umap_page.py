"""`umap --html`: what goes into the page of the map, and which faces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from facevae.errors import UsageError
from facevae.figures.map_page import Images, MapFaces, Sheets, face_sheets, map_page
from facevae.progress import Notice, Progress, Report
from facevae.storage.latents import Latents
from facevae.storage.output import check_output, output_path
from facevae.workflows.latents_faces import OriginalFaces, open_originals, why_no_originals

SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class PageOptions:
    """Where the page goes, and with which faces: those of this file, or None for none."""

    path: Path
    faces: Path | None


class MapDots(NamedTuple):
    """The map: its dots (N, 2), the rows of the latents that they are, and the dots (M, 2) of an older map beneath them."""

    points: NDArray[np.float32]
    rows: NDArray[np.int64]
    beneath: NDArray[np.float32] | None


def check_page(options: PageOptions, inputs: list[Path], outputs: list[Path]) -> None:
    """Refuse early a page that could not be written in the end.

    Raises:
        UsageError: it has no name of a page, or it is an input or another output.
        DataError: its folder cannot be written to.
    """
    if options.path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"Cannot write a page to {options.path}: its name must end in .html.")
    taken = inputs if options.faces is None else [*inputs, options.faces]
    check_output(options.path, inputs=taken, kind="page", option="--html")
    if options.path in outputs:
        raise UsageError(f"{options.path} cannot hold both the page and another result: name two files.")


def embedded_faces(options: PageOptions, latents: Latents, rows: NDArray[np.int64], report: Report) -> Sheets | None:
    """Return the faces of some rows of the latents as the page holds them, or None for none; say which it is, and why.

    Args:
        options: name the prepared faces.
        latents: tell which they were made from.
        rows: in ascending order.
        report: is told before the first face is read.

    Raises:
        DataError: the file of the faces is damaged, or holds something else.
    """
    if options.faces is None:
        return None
    originals = open_originals(latents, options.faces)
    if originals is not None:
        with originals:
            report(Notice(_warning(options.path, len(rows))))
            return _sheets(originals, rows, report)
    reason = why_no_originals(latents, options.faces)
    report(Notice(f"{reason}: {options.path} shows names and attributes, but no faces."))
    return None


def _warning(path: Path, count: int) -> str:
    what = f"the faces themselves ({count:,})" if count > 1 else "the face itself"
    return f"{path} will hold {what}: those of CelebA may not be passed on. Leave them out with --no-thumbnails."


def _sheets(originals: OriginalFaces, rows: NDArray[np.int64], report: Report) -> Sheets:
    def read(start: int, stop: int) -> Images:
        return originals.read(rows[start:stop].tolist())

    def done(count: int) -> None:
        report(Progress("thumbnails", count, len(rows)))

    return face_sheets(len(rows), read, done=done)


def write_page(
    path: Path, latents: Latents, dots: MapDots, attribute: str | None, sheets: Sheets | None, summary: str
) -> None:
    """Write the page, whole or not at all.

    Args:
        path: where to.
        latents: tell the names and attributes.
        dots: the map.
        attribute: what the page opens with, as its name in the latents; None where they have none.
        sheets: the faces, or None.
        summary: how many faces they are, in words.

    Raises:
        DataError: the page cannot be written.
    """
    content = MapFaces(
        points=dots.points,
        names=[latents.names[row] for row in dots.rows],
        attribute_names=latents.attribute_names,
        has=latents.attributes[dots.rows] > 0 if latents.attributes is not None else None,
        opening=latents.attribute_names.index(attribute) if attribute is not None else None,
        beneath=dots.beneath,
        summary=summary,
        sheets=sheets,
    )
    with output_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(map_page(content))
