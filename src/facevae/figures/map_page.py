"""The map of latents as one page: a single HTML file that needs nothing else, and no network.

Everything is in the file: style, script, and the data as base64. Coordinates are 16-bit numbers, attributes bits, names JSON,
each deflated; the faces are JPEG sheets of 32 x 32 faces, which the browser decodes when one of them is shown. The page's own
policy (Content-Security-Policy) forbids it to load anything from anywhere and to run any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from facevae.version import __version__
from facevae.web import SCATTER_MODULES, bundle, text

SHEET_COLUMNS = SHEET_ROWS = 32
SHEET_FACES = SHEET_COLUMNS * SHEET_ROWS
SHEETS_BUDGET = 48 * 2**20
"""How many bytes the faces may take, before base64 makes four of three."""
LARGEST_THUMBNAIL = 96
_SIZES = (LARGEST_THUMBNAIL, 64, 48, 32, 24, 16)
_QUALITIES = (85, 75, 65)
_SAMPLE_SHEETS = 4
_STEPS = 2**16 - 1
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")

Images = NDArray[np.uint8]


class Quality(NamedTuple):
    """How faces are embedded: at so many pixels a side, with that JPEG quality."""

    size: int
    jpeg: int


class Sheets(NamedTuple):
    """The embedded faces: their size in pixels, and JPEGs of 32 x 32 faces each, in the order of the rows."""

    size: int
    jpegs: Sequence[bytes]


@dataclass(frozen=True)
class MapFaces:
    """What the page shows.

    Attributes:
        points: where the dots are, float32 (N, 2).
        names: N names; any text.
        attribute_names: A names; empty where there are no attributes.
        has: whether a face has an attribute, (N, A); None where there are no attributes.
        opening: the attribute that the page opens with, by its number; None for one colour.
        beneath: the dots of an older map that the others were placed on, float32 (M, 2), or None.
        summary: how many faces they are, in words.
        sheets: the faces, or None to embed none.
    """

    points: NDArray[np.float32]
    names: Sequence[str]
    attribute_names: Sequence[str]
    has: NDArray[np.bool_] | None
    opening: int | None
    beneath: NDArray[np.float32] | None
    summary: str
    sheets: Sheets | None


def map_page(faces: MapFaces, *, heading: str = "UMAP of the latent means") -> Iterator[str]:
    """Yield the page in pieces, the same for the same faces; the sheets come last, so that the map is there before they are."""
    style = text("theme.css") + text("map.css")
    script = _script()
    values = {
        "policy": _policy(style, script),
        "generator": f"facevae {__version__}",
        "title": f"{heading}: {faces.summary}",
        "heading": heading,
        "summary": faces.summary,
    }
    yield _filled(text("map.html"), {name: html.escape(value) for name, value in values.items()} | {"style": style})
    for name, data in _blobs(faces).items():
        yield _block(f"data-{name}", "text/plain", zlib.compress(data, 9))
    yield f"<script>{script}</script>\n"
    for number, jpeg in enumerate(faces.sheets.jpegs if faces.sheets is not None else ()):
        yield _block(f"sheet-{number}", "image/jpeg", jpeg)
    yield "</body>\n</html>\n"


def _script() -> str:
    return '(() => {\n"use strict";\n' + bundle(*SCATTER_MODULES, "map.js") + "})();\n"


def _policy(style: str, script: str) -> str:
    def digest(content: str) -> str:
        return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"

    return (
        f"default-src 'none'; script-src {digest(script)}; style-src {digest(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _filled(template: str, values: Mapping[str, str]) -> str:
    # All in one pass: a value that looks like a placeholder stays as it is.
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)


def _block(name: str, kind: str, data: bytes) -> str:
    """Return an element that holds data for the script: base64, in which no markup can be."""
    return f'<script type="{kind}" id="{name}">{base64.b64encode(data).decode()}</script>\n'


def _blobs(faces: MapFaces) -> dict[str, bytes]:
    points = faces.points if faces.beneath is None else np.concatenate([faces.points, faces.beneath])
    numbers, frame = quantised(points)
    page: dict[str, Any] = {
        "count": len(faces.points),
        "beneath": 0 if faces.beneath is None else len(faces.beneath),
        "attributes": list(faces.attribute_names),
        "opening": faces.opening,
        "frame": frame,
        "thumbnails": None
        if faces.sheets is None
        else {"size": faces.sheets.size, "columns": SHEET_COLUMNS, "rows": SHEET_ROWS},
    }
    blobs = {"page": _json(page), "names": _json(list(faces.names)), "points": numbers.astype("<u2").tobytes()}
    if faces.has is not None:
        blobs["traits"] = packed(faces.has).tobytes()
    return blobs


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def quantised(points: NDArray[np.float32]) -> tuple[NDArray[np.uint16], dict[str, float]]:
    """Return coordinates (N, 2) as 16-bit numbers (N, 2), and the frame {x, y, stepX, stepY} that says where they are.

    A coordinate is the frame's x, or y, plus its number times the step; that is off by half a step at the most, a
    131,070th of the map's width or height.
    """
    low = points.min(axis=0).astype(np.float64)
    step = (points.max(axis=0).astype(np.float64) - low) / _STEPS
    numbers = np.rint((points - low) / np.where(step > 0, step, 1.0)).astype(np.uint16)
    return numbers, {"x": float(low[0]), "y": float(low[1]), "stepX": float(step[0]), "stepY": float(step[1])}


def packed(has: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return whether faces have attributes, (N, A), as bits (A, ceil(N / 8)), face 0 in the lowest bit of the first byte."""
    bits: NDArray[np.uint8] = np.packbits(has.T, axis=1, bitorder="little")
    return bits


def face_sheets(
    count: int,
    read: Callable[[int, int], Images],
    *,
    budget: int = SHEETS_BUDGET,
    done: Callable[[int], object] | None = None,
) -> Sheets:
    """Return `count` faces as sheets, as large and as good as `budget` bytes allow.

    Args:
        count: N, at least 1.
        read: returns the faces from one row up to another, uint8 (rows, S, S, 3).
        budget: what all sheets together may take, roughly: a part of them is measured.
        done: is told now and then how many faces are in the sheets.
    """
    starts = range(0, count, SHEET_FACES)
    sample = [_thumbnails(read, start, count) for start in starts[:: -(-len(starts) // _SAMPLE_SHEETS)]]
    quality = _best_quality(sample, count, budget)
    jpegs = []
    for start in starts:
        jpegs.append(_sheet(_thumbnails(read, start, count), quality))
        if done is not None:
            done(min(start + SHEET_FACES, count))
    return Sheets(quality.size, jpegs)


def _thumbnails(read: Callable[[int, int], Images], start: int, count: int) -> Images:
    """Return the faces of one sheet, reduced to the largest size in which they are embedded."""
    stop = min(start + SHEET_FACES, count)
    # A line at a time: a sheet of faces of 512 pixels would be 800 MB.
    lines = (read(row, min(row + SHEET_COLUMNS, stop)) for row in range(start, stop, SHEET_COLUMNS))
    return np.concatenate([_reduced(line, min(LARGEST_THUMBNAIL, line.shape[1])) for line in lines])


def _reduced(images: Images, size: int) -> Images:
    """Return faces (n, S, S, 3) as (n, size, size, 3)."""
    count, side = images.shape[:2]
    if side == size:
        return images
    # One below the other; the filter takes nothing from beyond a face's own pixels.
    column = Image.fromarray(images.reshape(count * side, side, 3))
    return np.asarray(column.resize((size, count * size), Image.Resampling.BOX)).reshape(count, size, size, 3)


def _best_quality(sample: Sequence[Images], count: int, budget: int) -> Quality:
    """Return the best of the qualities with which `count` faces such as those of the sample fit the budget, or the least."""
    *qualities, least = _qualities(sample[0].shape[1])
    sampled = sum(map(len, sample))
    for quality in qualities:
        if sum(len(_sheet(images, quality)) for images in sample) * count <= budget * sampled:
            return quality
    return least


def _qualities(side: int) -> Iterable[Quality]:
    """Yield the ways to embed faces of so many pixels a side, the best first: size counts for more than sharpness."""
    sizes = [side, *(size for size in _SIZES if size < side)]
    return (Quality(size, jpeg) for size in sizes for jpeg in _QUALITIES)


def _sheet(images: Images, quality: Quality) -> bytes:
    """Return up to 1,024 faces, line by line, as one JPEG.

    Colours are kept as finely as brightness, and JPEG's blocks of 8 x 8 pixels do not reach across the border of two faces at
    any of the usual sizes.
    """
    size = quality.size
    lines = -(-len(images) // SHEET_COLUMNS)
    tiles = np.zeros((lines * SHEET_COLUMNS, size, size, 3), dtype=np.uint8)
    tiles[: len(images)] = _reduced(images, size)
    sheet = tiles.reshape(lines, SHEET_COLUMNS, size, size, 3).transpose(0, 2, 1, 3, 4)
    buffer = io.BytesIO()
    Image.fromarray(sheet.reshape(lines * size, SHEET_COLUMNS * size, 3)).save(
        buffer, "JPEG", quality=quality.jpeg, subsampling=0, optimize=True
    )
    return buffer.getvalue()
