"""Grids of faces with labels, drawn pixel by pixel so that nothing is resampled twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8] | Image.Image

BACKGROUND = (255, 255, 255)
INK = (34, 34, 34)
FAINT_INK = (110, 110, 110)
GAP = 6
MARGIN = 14
LABEL_SIZE = 13
TITLE_SIZE = 16
_LABEL_HEIGHT = 20
_TITLE_HEIGHT = 30
_MAX_ROW_LABEL = 170
_MAX_COLUMN_LABEL = 84


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the label font: DejaVu Sans as matplotlib ships it, which has most scripts that file names come in."""
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def enlarge(face: Picture, size: int, *, smooth: bool = True) -> Image.Image:
    """Return `face` (S, S, 3) as a square picture of `size` pixels, bicubic or, for maps, with square pixels."""
    image = face if isinstance(face, Image.Image) else Image.fromarray(np.ascontiguousarray(face))
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return image if image.size == (size, size) else image.resize((size, size), method)


def shorten(text: str, width: float, size: int = LABEL_SIZE) -> str:
    """Return `text`, its middle replaced by an ellipsis where it is wider than `width` pixels."""
    if font(size).getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        shortened = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if font(size).getlength(shortened) <= width:
            return shortened
    return "…"


@dataclass(frozen=True)
class Grid:
    """What to draw: rows of tiles (None leaves a hole), and labels around them.

    `captions` stand under single tiles, row by row, and may have several lines; `column_labels` above the first row; `row_labels`
    left of each row.
    """

    tiles: Sequence[Sequence[Picture | None]]
    tile_size: int
    title: str = ""
    subtitle: str = ""
    column_labels: Sequence[str] = ()
    row_labels: Sequence[str] = ()
    captions: Sequence[Sequence[str]] = ()
    smooth: bool = True
    gap: int = GAP


def draw_grid(grid: Grid) -> Image.Image:
    """Return the grid as an RGB picture, as large as its contents ask for."""
    columns = max(len(row) for row in grid.tiles)
    left = MARGIN + _row_label_width(grid)
    top = MARGIN + (_TITLE_HEIGHT if grid.title else 0) + (_LABEL_HEIGHT if grid.subtitle else 0)
    body_top = top + (_LABEL_HEIGHT if grid.column_labels else 0)
    tops = _row_tops(grid, body_top)
    column_width = _column_width(grid)
    pitch = column_width + grid.gap
    title_width = font(TITLE_SIZE).getlength(grid.title)
    subtitle_width = font(LABEL_SIZE).getlength(grid.subtitle)
    width = max(left + columns * pitch - grid.gap, int(MARGIN + max(title_width, subtitle_width)) + 1) + MARGIN
    height = tops[-1] - grid.gap + MARGIN

    canvas = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    if grid.title:
        draw.text((MARGIN, MARGIN), grid.title, font=font(TITLE_SIZE), fill=INK)
    if grid.subtitle:
        draw.text((MARGIN, top - _LABEL_HEIGHT - 4), grid.subtitle, font=font(LABEL_SIZE), fill=FAINT_INK)
    for column, label in enumerate(grid.column_labels):
        _centred(draw, left + column * pitch, top, column_width, label)
    for number, row in enumerate(grid.tiles):
        _draw_row(canvas, draw, grid, number, row, left, tops[number])
    return canvas


def _row_tops(grid: Grid, top: int) -> list[int]:
    """Return where each row begins and, at the end, where the next would: a row with captions takes their lines more."""
    tops = [top]
    for number in range(len(grid.tiles)):
        captions = grid.captions[number] if number < len(grid.captions) else ()
        lines = max((caption.count("\n") + 1 for caption in captions if caption), default=0)
        tops.append(tops[-1] + grid.tile_size + lines * _LABEL_HEIGHT + grid.gap)
    return tops


def _draw_row(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    grid: Grid,
    number: int,
    row: Sequence[Picture | None],
    left: int,
    y: int,
) -> None:
    column_width = _column_width(grid)
    if grid.row_labels:
        label = shorten(grid.row_labels[number], _MAX_ROW_LABEL)
        middle = y + grid.tile_size / 2
        draw.text((left - 10, middle), label, font=font(LABEL_SIZE), fill=INK, anchor="rm")
    for column, tile in enumerate(row):
        x = left + column * (column_width + grid.gap)
        if tile is not None:
            inset = (column_width - grid.tile_size) // 2
            canvas.paste(enlarge(tile, grid.tile_size, smooth=grid.smooth), (x + inset, y))
        if number < len(grid.captions) and column < len(grid.captions[number]):
            under = y + grid.tile_size + 2
            for line, text in enumerate(grid.captions[number][column].split("\n")):
                _centred(draw, x, under + line * _LABEL_HEIGHT, column_width, text, FAINT_INK)


def _centred(draw: ImageDraw.ImageDraw, x: int, y: int, width: int, text: str, ink: tuple[int, int, int] = INK) -> None:
    text = shorten(text, width + GAP)
    draw.text((x + width / 2, y), text, font=font(LABEL_SIZE), fill=ink, anchor="ma")


def _column_width(grid: Grid) -> int:
    """Return the width of a column: the tile's, or more where small tiles would leave no room to read the labels."""
    captions = [line for row in grid.captions for caption in row for line in caption.split("\n")]
    labels = [*grid.column_labels, *captions]
    widest = max((font(LABEL_SIZE).getlength(label) for label in labels), default=0.0)
    return max(grid.tile_size, int(min(widest, _MAX_COLUMN_LABEL)) + 1 if labels else 0)


def _row_label_width(grid: Grid) -> int:
    if not grid.row_labels:
        return 0
    widest = max(font(LABEL_SIZE).getlength(label) for label in grid.row_labels)
    return int(min(widest, _MAX_ROW_LABEL)) + 12
